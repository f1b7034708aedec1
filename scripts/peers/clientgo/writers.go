package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/util/retry"
)

// Writers of each resource at a time, and the changes of an object before it is deleted.
const (
	writersOfEach = 2
	changes       = 5
)

// A history is what was acknowledged to the writers of one resource.
type history struct {
	lock      sync.Mutex
	revisions map[string][]uint64 // by uid
	deleted   map[string]bool     // by uid
}

func (h *history) wrote(object any) error {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	revision, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64)
	if err != nil {
		return err
	}
	h.lock.Lock()
	defer h.lock.Unlock()
	uid := string(accessor.GetUID())
	h.revisions[uid] = append(h.revisions[uid], revision)
	return nil
}

func (h *history) removed(object any) error {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	h.lock.Lock()
	defer h.lock.Unlock()
	h.deleted[string(accessor.GetUID())] = true
	return nil
}

// write lets writers write for that long, and says what the server acknowledged.
func write(ctx context.Context, all clients, duration time.Duration, result *report) map[string]*history {
	lives := map[string]func(context.Context, clients, string, *history, *report) error{
		"configmaps": configMap, "secrets": secret, "gadgets": gadget,
	}
	written := map[string]*history{}
	end := time.Now().Add(duration)
	var under sync.WaitGroup
	for resource, life := range lives {
		written[resource] = &history{revisions: map[string][]uint64{}, deleted: map[string]bool{}}
		for writer := range writersOfEach {
			under.Go(func() {
				for turn := 0; time.Now().Before(end); turn++ {
					name := fmt.Sprintf("w%d-%d", writer, turn)
					if err := life(ctx, all, name, written[resource], result); err != nil {
						result.wrong("%s %s: %v", resource, name, err)
						return
					}
				}
			})
		}
	}
	under.Wait()
	for _, one := range written {
		for _, revisions := range one.revisions {
			result.Writes += len(revisions)
		}
		result.Deletes += len(one.deleted)
	}
	return written
}

// Every fourth object stays, so that the caches hold something in the end.
func stays(name string) bool { return name[len(name)-1]%4 == 0 }

// A ConfigMap is created, changed in each way that the typed client knows, and deleted.
func configMap(ctx context.Context, all clients, name string, written *history, result *report) error {
	maps := all.typed.CoreV1().ConfigMaps(namespace)
	made, err := maps.Create(ctx, &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"n": "0"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := written.wrote(made); err != nil {
		return err
	}
	for change := 1; change <= changes; change++ {
		var changed *core.ConfigMap
		value := strconv.Itoa(change)
		switch change % 3 {
		case 0:
			changed, err = maps.Patch(ctx, name, types.StrategicMergePatchType, fmt.Appendf(nil, `{"data": {"n": %q}}`, value), metav1.PatchOptions{})
		case 1:
			stale := made.DeepCopy()
			made.Data["n"] = value
			if changed, err = maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
				return err
			}
			// Whoever still holds the old state must be refused.
			stale.Data["n"] = "stale"
			if _, again := maps.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(again) {
				return fmt.Errorf("an old state was taken: %v", again)
			}
			result.lock.Lock()
			result.Conflicts++
			result.lock.Unlock()
		default:
			apply := applycore.ConfigMap(name, namespace).WithData(map[string]string{"applied": value})
			changed, err = maps.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "clientgo", Force: true})
		}
		if err != nil {
			return err
		}
		if err := written.wrote(changed); err != nil {
			return err
		}
		made = changed
	}
	if stays(name) {
		return nil
	}
	if err := maps.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return written.removed(made)
}

// A Secret has a finalizer: it is marked first, and goes with the update that takes the finalizer away.
func secret(ctx context.Context, all clients, name string, written *history, _ *report) error {
	secrets := all.typed.CoreV1().Secrets(namespace)
	made, err := secrets.Create(ctx, &core.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"example.com/hold"}},
		Data:       map[string][]byte{"key": {0, 1, 2, 0xff}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := written.wrote(made); err != nil || stays(name) {
		return err
	}
	if err := secrets.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	marked, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if marked.DeletionTimestamp == nil || string(marked.Data["key"]) != "\x00\x01\x02\xff" {
		return fmt.Errorf("not what was written: %v", marked)
	}
	if err := written.wrote(marked); err != nil {
		return err
	}
	marked.Finalizers = nil
	if _, err := secrets.Update(ctx, marked, metav1.UpdateOptions{}); err != nil {
		return err
	}
	return written.removed(marked)
}

// A Gadget is changed by two writers of its status at once, who solve their conflicts as controllers do.
func gadget(ctx context.Context, all clients, name string, written *history, result *report) error {
	client := all.dynamic.Resource(gadgets).Namespace(namespace)
	made, err := client.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gadgets.GroupVersion().String(), "kind": "Gadget",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"count": int64(1)},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := written.wrote(made); err != nil {
		return err
	}
	var group sync.WaitGroup
	failures := make([]error, 2)
	for writer := range failures {
		group.Go(func() {
			for range changes {
				failures[writer] = retry.OnError(wait.Backoff{Steps: 50, Duration: time.Millisecond, Factor: 1.1, Jitter: 1}, apierrors.IsConflict, func() error {
					now, err := client.Get(ctx, name, metav1.GetOptions{})
					if err != nil {
						return err
					}
					count, _, _ := unstructured.NestedInt64(now.Object, "status", "count")
					if err := unstructured.SetNestedField(now.Object, count+1, "status", "count"); err != nil {
						return err
					}
					changed, err := client.UpdateStatus(ctx, now, metav1.UpdateOptions{})
					if apierrors.IsConflict(err) {
						result.lock.Lock()
						result.Conflicts++
						result.lock.Unlock()
					}
					if err != nil {
						return err
					}
					return written.wrote(changed)
				})
				if failures[writer] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	for _, failure := range failures {
		if failure != nil {
			return failure
		}
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"count": 2}})
	if err != nil {
		return err
	}
	made, err = client.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if count, _, _ := unstructured.NestedInt64(made.Object, "status", "count"); count != 2*changes {
		return fmt.Errorf("%d increments made %d", 2*changes, count)
	}
	if err := written.wrote(made); err != nil || stays(name) {
		return err
	}
	if err := client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return written.removed(made)
}
