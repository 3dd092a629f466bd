package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"signet"
	"signet/core/tree"
)

// An Unsafe is a file or link of a volume whose newest bytes the service does not
// have: lost, were this device lost now. That it was moved or renamed does not
// count, as its bytes are safe.
type Unsafe struct {
	Path   string
	Size   int64
	State  UnsafeState
	Reason string // of Unsynched: why
	Before bool   // an earlier version of it is safe
}

// An UnsafeState says what a file waits for.
type UnsafeState string

// What files wait for.
const (
	Unread    UnsafeState = "unread"     // changed, and not read yet
	InUse     UnsafeState = "in_use"     // a program writes to it
	Waiting   UnsafeState = "waiting"    // to be sent
	Uploading UnsafeState = "uploading"  // a large one that is being read, sealed or sent
	HeldBack  UnsafeState = "held"       // by a problem of its name, of the region or of its folder
	Unsynched UnsafeState = "unsynched"  // cannot be read
	NotFitted UnsafeState = "over_quota" // the service has no room for it
)

// A Survey is what of a volume is unsafe.
type Survey struct {
	Files    []Unsafe // smallest first
	Ignored  int      // names that the rules leave out, with what is below them: not in Files
	Odd      int      // names that are neither file, folder nor link, or lie on another mount: not in Files
	Unlisted int      // folders that could not be listed: what changed in them is not known
	Lacks    int      // files and links of the region that are not in the folder
	Older    int      // those that are there as they were before
	Rate     float64  // bytes a second at which it goes now; 0 where it does not
}

// Survey says what of a volume is unsafe: of one that runs, as its loop has it;
// else the folder is looked at now, and new content read for as long as a turn
// lasts. Nothing is sent.
func (d *Device) Survey(ctx context.Context, id string) (Survey, error) {
	v, err := d.volume(id)
	if err != nil {
		return Survey{}, err
	}
	d.mu.Lock()
	ended := v.ended
	d.mu.Unlock()
	if ended == nil {
		return v.surveyNow(ctx)
	}
	answer := make(chan Survey, 1)
	v.mu.Lock()
	v.surveys = append(v.surveys, answer)
	v.mu.Unlock()
	v.wake()
	select {
	case s := <-answer:
		return s, nil
	case <-ended:
		return Survey{}, fmt.Errorf("volume: %w", signet.ErrNotFound)
	case <-ctx.Done():
		return Survey{}, ctx.Err()
	}
}

// surveyNow looks at the folder of a volume that no loop has.
func (v *volume) surveyNow(ctx context.Context) (Survey, error) {
	v.beside = newBesides(ctx, v.wake)
	defer v.closeDisk()
	if err := v.lookOnce(ctx); err != nil {
		return Survey{}, err
	}
	return v.survey(), v.d.Store.flush(v.id, v.index)
}

// lookOnce looks at all of the folder, and reads for as long as a turn lasts, but
// for heavy files: those might be sent on the way.
func (v *volume) lookOnce(ctx context.Context) error {
	v.scan, v.still = true, true
	defer func() { v.still = false }()
	if err := v.open(); err != nil {
		return err
	}
	v.acknowledge()
	if _, err := v.readRules(ctx); err != nil {
		return err
	}
	if err := v.observe(ctx); err != nil {
		return err
	}
	_, err := v.hash(ctx, v.d.Now().Add(slice))
	return err
}

// surveyPaused looks at the folder of a paused volume for those who ask: nobody
// else does. Where it cannot be looked at, they get what was seen last.
func (v *volume) surveyPaused(ctx context.Context) {
	v.mu.Lock()
	asked := len(v.surveys)+len(v.inquiries) > 0
	v.mu.Unlock()
	if asked {
		_ = v.lookOnce(ctx)
		v.setState(Paused, "", "")
		v.answerSurveys()
	}
}

// answerSurveys answers those who asked what is unsafe, people and other volumes. Of the
// loop.
func (v *volume) answerSurveys() {
	v.answerInquiries()
	v.mu.Lock()
	asked := v.surveys
	v.surveys = nil
	v.mu.Unlock()
	if len(asked) == 0 {
		return
	}
	s := v.survey()
	for _, a := range asked {
		a <- s
	}
}

// survey makes a Survey of the index. A file is safe if the journal, with this
// device's own entries acknowledged, has what the last look saw.
func (v *volume) survey() Survey {
	var s Survey
	for id, it := range v.index.items {
		if it.stat.Type == tree.Dir {
			continue
		}
		if it.stat.Type != tree.File && it.stat.Type != tree.Link {
			s.Odd++
			continue
		}
		if v.isSafe(id, it) {
			continue
		}
		_, had := v.index.base.Get(id)
		path, ok := v.index.path(id)
		if !ok {
			continue
		}
		u := Unsafe{Path: path, Size: it.stat.Size, State: v.waitsFor(it), Before: had}
		if u.State == Unsynched {
			u.Reason = it.fault().Message
		}
		s.Files = append(s.Files, u)
	}
	slices.SortFunc(s.Files, func(a, b Unsafe) int {
		if c := cmp.Compare(a.Size, b.Size); c != 0 {
			return c
		}
		return strings.Compare(a.Path, b.Path)
	})
	for _, names := range v.index.kept {
		s.Ignored += len(names)
	}
	for _, err := range v.index.blind {
		if err != errNotListed {
			s.Unlisted++
		}
	}
	s.Lacks, s.Older = v.lacks()
	v.mu.Lock()
	s.Rate = v.pace.rate(v.d.Now())
	v.mu.Unlock()
	return s
}

// isSafe reports whether the service has what the last look saw of a file or link.
func (v *volume) isSafe(id signet.NodeID, it *item) bool {
	b, had := v.index.base.Get(id)
	return had && b.Type == it.stat.Type && (it.stat.Type == tree.Link && b.Target == it.stat.Target ||
		it.stat.Type == tree.File && it.sha != [32]byte{} && b.Hash == it.sha && b.Size == it.stat.Size)
}

// lacks counts what the region has, as far as it was read, and the folder does not,
// or not as it is now.
func (v *volume) lacks() (gone, older int) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	for r := range v.region.Tree.Refs() {
		if r.Type() == tree.Dir {
			continue
		}
		it := v.index.items[r.ID()]
		switch {
		case it == nil && !v.index.away[r.ID()]:
			gone++
		case it == nil || it.sha == r.Hash() && it.stat.Target == r.Target():
		case v.index.base.of(r.ID()).Content != r.Content().Revision:
			older++
		}
	}
	return gone, older
}

// waitsFor is what an unsafe item waits for.
func (v *volume) waitsFor(it *item) UnsafeState {
	switch {
	case it.waiting():
		return InUse
	case it.fault() != nil:
		return Unsynched
	case v.beside.sends(it.id):
		return Uploading
	case it.stat.Type == tree.File && it.sha == [32]byte{}:
		return Unread
	case v.holds[it.id]:
		return HeldBack
	case v.crowded.waits[it.id]:
		return NotFitted
	}
	return Waiting
}
