package main

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The times of an election, of which upstream wants each to be well below the one before.
const (
	leaseDuration = 3 * time.Second
	renewDeadline = 2 * time.Second
	retryPeriod   = 300 * time.Millisecond
	// How long it may take until somebody leads after a leader has gone without a word.
	takeover = leaseDuration + 5*time.Second
)

// An election is who leads at this moment, and who has led.
type election struct {
	lock    sync.Mutex
	leading map[string]bool
	began   chan string
	result  *report
}

func (e *election) starts(name string) {
	e.lock.Lock()
	defer e.lock.Unlock()
	e.leading[name] = true
	if len(e.leading) != 1 {
		e.result.wrong("several lead at once: %v", e.leading)
	}
	e.result.Leaders = append(e.result.Leaders, name)
	e.began <- name
}

func (e *election) stops(name string) {
	e.lock.Lock()
	defer e.lock.Unlock()
	delete(e.leading, name)
}

// candidate runs for leadership until its context ends, releasing it then or not.
func (e *election) candidate(ctx context.Context, all clients, name string, releases bool) <-chan struct{} {
	done := make(chan struct{})
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: "election"},
		Client:     all.typed.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: name},
	}
	go func() {
		defer close(done)
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
			ReleaseOnCancel: releases, Name: name,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { e.starts(name) },
				OnStoppedLeading: func() { e.stops(name) },
			},
		})
	}()
	return done
}

// leads waits until that candidate leads.
func (e *election) leads(name string, within time.Duration) bool {
	select {
	case began := <-e.began:
		if began != name {
			e.result.wrong("%s leads, not %s", began, name)
		}
		return began == name
	case <-time.After(within):
		e.result.wrong("%s does not lead after %v", name, within)
		return false
	}
}

// elect lets two candidates run: the first leads for half of the time and goes without a word, the second takes over
// and gives the leadership back, and the first has it again.
func elect(ctx context.Context, all clients, duration time.Duration, result *report) {
	e := &election{leading: map[string]bool{}, began: make(chan string, 8), result: result}
	first, stopFirst := context.WithCancel(ctx)
	defer stopFirst()
	gone := e.candidate(first, all, "first", false)
	if !e.leads("first", takeover) {
		return
	}
	second, stopSecond := context.WithCancel(ctx)
	defer stopSecond()
	released := e.candidate(second, all, "second", true)
	select {
	case began := <-e.began:
		result.wrong("%s leads beside the first", began)
	case <-time.After(duration / 2):
	}
	stopFirst()
	<-gone
	if !e.leads("second", takeover) {
		return
	}
	select {
	case began := <-e.began:
		result.wrong("%s leads beside the second", began)
	case <-time.After(time.Second):
	}
	last, stopLast := context.WithCancel(ctx)
	third := e.candidate(last, all, "third", false)
	stopSecond()
	<-released
	// A released lease is free at once; but a renewal under way at that moment may have made the release stale.
	e.leads("third", takeover)
	lease, err := all.typed.CoordinationV1().Leases(namespace).Get(ctx, "election", metav1.GetOptions{})
	switch {
	case err != nil:
		result.wrong("the lease: %v", err)
	case lease.Spec.HolderIdentity == nil || lease.Spec.LeaseTransitions == nil:
		result.wrong("the lease says nothing: %v", lease.Spec)
	case *lease.Spec.HolderIdentity != "third":
		result.wrong("the lease is held by %q", *lease.Spec.HolderIdentity)
	case *lease.Spec.LeaseTransitions < 2:
		result.wrong("the lease changed hands %d times", *lease.Spec.LeaseTransitions)
	}
	stopLast()
	<-third
}
