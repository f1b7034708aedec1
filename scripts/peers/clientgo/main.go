// Command clientgo shows that client-go's clients can live with an API server: shared informers on a custom resource and
// on built-in types, in the encodings that client-go asks for, keep up with writers, and leaders are elected one at a
// time. It prints a report as JSON and fails if anything went wrong.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const namespace = "clientgo"

var (
	crds    = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	gadgets = schema.GroupVersionResource{Group: "clientgo.example.com", Version: "v1", Resource: "gadgets"}
)

// A report says what was done, and in Wrong what should not have happened.
type report struct {
	lock sync.Mutex

	Writes    int            `json:"writes"`
	Deletes   int            `json:"deletes"`
	Seen      map[string]int `json:"seen"`
	Leaders   []string       `json:"leaders"`
	Conflicts int            `json:"conflicts"`
	Wrong     []string       `json:"wrong"`
}

func (r *report) wrong(format string, arguments ...any) {
	r.lock.Lock()
	defer r.lock.Unlock()
	// The first few tell; a server that loses one event in two would fill the disk.
	if len(r.Wrong) < 20 {
		r.Wrong = append(r.Wrong, fmt.Sprintf(format, arguments...))
	}
}

type clients struct {
	config  *rest.Config
	typed   kubernetes.Interface
	dynamic dynamic.Interface
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "whom to ask, and as whom")
	duration := flag.Duration("for", 12*time.Second, "how long writers write")
	flag.Parse()
	result := &report{Seen: map[string]int{}, Leaders: []string{}, Wrong: []string{}}
	if err := run(*kubeconfig, *duration, result); err != nil {
		result.wrong("%v", err)
	}
	text, _ := json.MarshalIndent(result, "", "  ")
	fmt.Println(string(text))
	if len(result.Wrong) > 0 {
		os.Exit(1)
	}
}

func run(kubeconfig string, duration time.Duration, result *report) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = "application/vnd.kubernetes.protobuf"
	protobuf.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	typed, err := kubernetes.NewForConfig(protobuf)
	if err != nil {
		return err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	all := clients{config: config, typed: typed, dynamic: untyped}
	whole, cancel := context.WithTimeout(context.Background(), duration+time.Minute)
	defer cancel()
	if err := prepare(whole, all); err != nil {
		return err
	}

	watched, err := watch(whole, all, result)
	if err != nil {
		return err
	}
	var under sync.WaitGroup
	under.Go(func() { elect(whole, all, duration, result) })
	written := write(whole, all, duration, result)
	under.Wait()
	watched.compare(whole, all, written, result)
	return nil
}

// prepare makes the namespace and the custom resource, and waits until both can be used.
func prepare(ctx context.Context, all clients) error {
	object := func(api, kind, name string, spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": api, "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec}}
	}
	spaces := all.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	if _, err := spaces.Create(ctx, object("v1", "Namespace", namespace, nil), metav1.CreateOptions{}); err != nil {
		return err
	}
	crd := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", gadgets.Resource+"."+gadgets.Group, map[string]any{
		"group": gadgets.Group, "scope": "Namespaced",
		"names": map[string]any{"plural": gadgets.Resource, "kind": "Gadget"},
		"versions": []any{map[string]any{
			"name": gadgets.Version, "served": true, "storage": true,
			"subresources": map[string]any{"status": map[string]any{}},
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
				"spec":   map[string]any{"type": "object", "properties": map[string]any{"count": map[string]any{"type": "integer"}}},
				"status": map[string]any{"type": "object", "properties": map[string]any{"count": map[string]any{"type": "integer"}}},
			}}},
		}},
	})
	if _, err := all.dynamic.Resource(crds).Create(ctx, crd, metav1.CreateOptions{}); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := all.dynamic.Resource(gadgets).Namespace(namespace).List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
}
