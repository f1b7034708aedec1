package main

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// A follower is what an informer has told so far.
type follower struct {
	name     string
	informer cache.SharedIndexInformer
	list     func(context.Context) (runtime.Object, error)

	lock     sync.Mutex
	seen     map[string][]uint64 // by uid: its revisions, in the order of their events
	deleted  map[string]bool     // by uid
	problems []string
}

type followers []*follower

// watch starts the informers and waits until each has its list.
func watch(ctx context.Context, all clients, result *report) (followers, error) {
	dynamically := dynamicinformer.NewFilteredDynamicSharedInformerFactory(all.dynamic, 0, namespace, nil)
	typed := informers.NewSharedInformerFactoryWithOptions(all.typed, 0, informers.WithNamespace(namespace))
	core := typed.Core().V1()
	options := metav1.ListOptions{Limit: 500}
	started := followers{
		{name: "gadgets", informer: dynamically.ForResource(gadgets).Informer(), list: func(ctx context.Context) (runtime.Object, error) {
			return all.dynamic.Resource(gadgets).Namespace(namespace).List(ctx, options)
		}},
		{name: "configmaps", informer: core.ConfigMaps().Informer(), list: func(ctx context.Context) (runtime.Object, error) {
			return all.typed.CoreV1().ConfigMaps(namespace).List(ctx, options)
		}},
		{name: "secrets", informer: core.Secrets().Informer(), list: func(ctx context.Context) (runtime.Object, error) {
			return all.typed.CoreV1().Secrets(namespace).List(ctx, options)
		}},
		{name: "leases", informer: typed.Coordination().V1().Leases().Informer(), list: func(ctx context.Context) (runtime.Object, error) {
			return all.typed.CoordinationV1().Leases(namespace).List(ctx, options)
		}},
	}
	for _, one := range started {
		one.seen, one.deleted = map[string][]uint64{}, map[string]bool{}
		if _, err := one.informer.AddEventHandler(one); err != nil {
			return nil, err
		}
		err := one.informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
			// A watch may end; one that fails lets events go by.
			result.wrong("the watch of %s: %v", one.name, err)
		})
		if err != nil {
			return nil, err
		}
	}
	dynamically.Start(ctx.Done())
	typed.Start(ctx.Done())
	for _, one := range started {
		if !cache.WaitForCacheSync(ctx.Done(), one.informer.HasSynced) {
			return nil, fmt.Errorf("no list of %s in time", one.name)
		}
	}
	return started, nil
}

func (f *follower) note(object any, gone bool) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		f.problems = append(f.problems, fmt.Sprintf("%T: %v", object, err))
		return
	}
	uid := string(accessor.GetUID())
	revision, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64)
	if err != nil {
		f.problems = append(f.problems, err.Error())
		return
	}
	if before := f.seen[uid]; len(before) > 0 && before[len(before)-1] >= revision {
		f.problems = append(f.problems, fmt.Sprintf("%s came at %d after %d", accessor.GetName(), revision, before[len(before)-1]))
	}
	if f.deleted[uid] {
		f.problems = append(f.problems, accessor.GetName()+" came again after it was deleted")
	}
	f.seen[uid] = append(f.seen[uid], revision)
	f.deleted[uid] = gone
}

// OnAdd is the event of a new object.
func (f *follower) OnAdd(object any, _ bool) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.note(object, false)
}

// OnUpdate is the event of a changed one.
func (f *follower) OnUpdate(_, object any) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.note(object, false)
}

// OnDelete is the event of one that is gone; without its last state, the informer has missed the event itself.
func (f *follower) OnDelete(object any) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if unknown, is := object.(cache.DeletedFinalStateUnknown); is {
		f.problems = append(f.problems, "the event of a deletion was missed: "+unknown.Key)
		return
	}
	f.note(object, true)
}

// compare waits until every cache is what a fresh list gives, and then looks whether every write was told.
func (all followers) compare(ctx context.Context, from clients, written map[string]*history, result *report) {
	for _, one := range all {
		var cached, listed map[string]string
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
			list, err := one.list(ctx)
			if err != nil {
				return false, err
			}
			objects, err := meta.ExtractList(list)
			if err != nil {
				return false, err
			}
			listed = map[string]string{}
			for _, object := range objects {
				listed[key(object)] = revision(object)
			}
			cached = map[string]string{}
			for _, object := range one.informer.GetStore().List() {
				cached[key(object)] = revision(object)
			}
			return reflect.DeepEqual(cached, listed), nil
		})
		if err != nil {
			result.wrong("the cache of %s is not the list: %v\n%v\n%v", one.name, err, cached, listed)
		}
		one.check(written[one.name], result)
	}
}

func (f *follower) check(written *history, result *report) {
	// The last deletion is in the cache before its handler has run.
	end := time.Now().Add(10 * time.Second)
	for f.missing(written) != "" && time.Now().Before(end) {
		time.Sleep(20 * time.Millisecond)
	}
	if missing := f.missing(written); missing != "" {
		result.wrong("%s: %s", f.name, missing)
	}
	f.lock.Lock()
	defer f.lock.Unlock()
	for _, problem := range f.problems {
		result.wrong("%s: %s", f.name, problem)
	}
	for _, revisions := range f.seen {
		result.Seen[f.name] += len(revisions)
	}
}

// missing names a write that no event told of; empty if there is none.
func (f *follower) missing(written *history) string {
	f.lock.Lock()
	defer f.lock.Unlock()
	if written == nil {
		return ""
	}
	for uid, revisions := range written.revisions {
		told := map[uint64]bool{}
		for _, revision := range f.seen[uid] {
			told[revision] = true
		}
		for _, revision := range revisions {
			if !told[revision] {
				return fmt.Sprintf("nothing was told of revision %d of %s: %v", revision, uid, f.seen[uid])
			}
		}
	}
	for uid := range written.deleted {
		if !f.deleted[uid] {
			return "nothing was told of the deletion of " + uid
		}
	}
	return ""
}

func key(object any) string {
	key, _ := cache.MetaNamespaceKeyFunc(object)
	return key
}

func revision(object any) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return err.Error()
	}
	return accessor.GetResourceVersion()
}
