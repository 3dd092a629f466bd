package sim

import (
	"math/rand/v2"
	"time"
)

// A shape is how large a run is, and how much of it happens how soon after the rest.
type shape struct {
	verbs, spread int           // all users do so many together, and at most so many more
	devices       []int         // one of these, drawn
	pause         int           // of a user between two verbs, ms at most
	breaks        int           // one in so many pauses is a minute longer
	passes, more  int           // of a program's life: so many at least, and at most so many more
	between       time.Duration // two of its passes, at most
	down          time.Duration // between two lives, at most
	crash         int           // a life that crashes does so within so many steps
	within        time.Duration // what happens once, happens so long after the start, at most
	ends          bool          // programs end soon after the users are through
	years         uint64        // one in so many seeds lets years pass
	links         int           // one in so many runs links a device; 0: none
	truncates     bool          // users do
	slows         int           // in one of so many runs the network is slow; 0: none
	folds         int           // one in so many runs has disks that fold names; 0: none
}

// The first of the seeds that are short, and that are dense. Those below mean what they
// meant when they failed, or were counted as clean.
const (
	shortFrom = 1_000_000
	denseFrom = 2_000_000
)

// long is the shape of the seeds that were run first. Users stop so often that programs
// make as many passes as users do verbs, most of which find nothing.
var long = shape{verbs: 100, spread: 60, devices: []int{2, 3, 4}, pause: 3000, breaks: 12, passes: 5, more: 30,
	between: 20 * time.Second, down: 20 * time.Second, crash: 400, within: time.Minute, years: 3}

// short has at least as many verbs, two or three of them for a pass, and more runs with
// two devices.
var short = shape{verbs: 100, spread: 10, devices: []int{2, 2, 2, 2, 2, 2, 3, 3, 3, 4}, pause: 1000, breaks: 40, passes: 4, more: 12,
	between: 15 * time.Second, down: 10 * time.Second, crash: 250, within: 30 * time.Second, ends: true, years: 12}

// dense has as many verbs in a third of the time, and eight of them for a pass: more of
// them meet each other, and what a run costs are passes. Among dense seeds one in twenty
// is short.
var dense = shape{verbs: 100, spread: 10, devices: []int{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4}, pause: 300, breaks: 200, passes: 6, more: 12,
	between: 20 * time.Second, down: 5 * time.Second, crash: 250, within: 15 * time.Second, ends: true, years: 24,
	links: 4, truncates: true, slows: 4, folds: 6}

func shapeOf(seed uint64) shape {
	switch {
	case seed >= denseFrom && seed%20 > 0:
		return dense
	case seed >= shortFrom:
		return short
	}
	return long
}

// upTo draws a time, in milliseconds.
func upTo(rnd *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rnd.IntN(int(most/time.Millisecond))) * time.Millisecond
}
