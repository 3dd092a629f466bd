package owner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"signet"
	"signet/device/cli/control"
	"signet/device/engine"
)

// Synced is what sync did to one volume.
type Synced struct {
	Path        string           `json:"path"`
	PathB64     []byte           `json:"path_b64,omitempty"`
	Region      string           `json:"region"`
	State       engine.State     `json:"state"`
	Reason      string           `json:"reason,omitempty"`
	HeldDeletes int              `json:"held_deletes"`
	Problems    []engine.Problem `json:"problems"`
	Counters    engine.Counters  `json:"counters"`
}

// sync brings volumes in step once.
func (w *Work) sync(ctx context.Context, p dirParams, ui control.UI) (any, error) {
	return w.bringInStep(ctx, p.Dir, ui, false)
}

// wait is sync of all volumes that also says which conflicts there are, not
// only those that it made: who made them, it or a daemon a moment before, must
// not change what it says.
func (w *Work) wait(ctx context.Context, _ struct{}, ui control.UI) (any, error) {
	return w.bringInStep(ctx, "", ui, true)
}

// bringInStep brings volumes in step, here or by waiting for the daemon. What
// was done is told also where something needs a person.
func (w *Work) bringInStep(ctx context.Context, dir string, ui control.UI, standing bool) (any, error) {
	vs, err := w.chosen(dir)
	if err != nil {
		return nil, err
	}
	if len(vs) == 0 {
		return nil, w.nothing()
	}
	var errs []error
	if !w.Running {
		// An alarm about one region does not keep the others from being synced;
		// whose volume it is, its own synch says.
		if err := w.Engine.Discover(ctx); errors.Is(err, signet.ErrNotVerified) {
			errs = append(errs, err)
		} else if err != nil {
			return nil, err
		}
		if err := w.Engine.FreshenRing(ctx); err != nil && !errors.Is(err, signet.ErrConflict) {
			return nil, err
		}
	}
	out := SyncResult{Volumes: []Synced{}}
	step := func(id string) (engine.Counters, error) {
		stop := w.progress(ctx, id, ui)
		defer stop()
		return w.syncOne(ctx, id)
	}
	type done struct {
		c   engine.Counters
		err error
	}
	did := map[string]done{}
	for _, v := range vs {
		c, err := step(v.ID)
		did[v.ID] = done{c, err}
	}
	for _, v := range vs {
		if d := did[v.ID]; d.err == nil && w.Engine.Leaving(v.ID) { // what was moved from it to another is safe there by now
			c, err := step(v.ID)
			did[v.ID] = done{d.c.Plus(c), err}
		}
	}
	for _, v := range vs {
		c, err := did[v.ID].c, did[v.ID].err
		s := w.Engine.VolumeStatus(v.ID)
		one := Synced{Region: s.Region, State: s.State, Reason: s.Reason, HeldDeletes: s.HeldDeletes, Problems: s.Problems, Counters: c}
		one.Path, one.PathB64 = control.Name(v.Dir)
		out.Volumes = append(out.Volumes, one)
		if err != nil {
			err = fmt.Errorf("%s: %w", v.Dir, explain(err, v.Dir))
		} else {
			err = needs(s, v.Dir, c, standing)
		}
		errs = append(errs, err)
	}
	out.Fault = control.FaultOf(errors.Join(errs...))
	return out, nil
}

// needs is what of a volume in its present state needs a person, after a synch
// that did c; nil if nothing does.
func needs(s engine.VolumeStatus, dir string, c engine.Counters, standing bool) error {
	p := func(kind, hint, format string, args ...any) error {
		return &problem{kind, dir + ": " + fmt.Sprintf(format, args...), hint, control.Attention}
	}
	switch {
	case s.State == engine.Paused:
		return p("paused", "signet resume "+dir, "paused: nothing is transferred")
	case s.HeldDeletes > 0:
		return p("held", "signet approve-deletes lets them go; signet restore DIR brings the files back", "%d deletions are held: so many at once may be a mistake", s.HeldDeletes)
	case c.Conflicts > 0:
		return p("conflicts", "signet conflicts lists them; delete or merge what you do not need", "%d conflict copies were made", c.Conflicts)
	case standing && s.Conflicts > 0:
		return p("conflicts", "signet conflicts lists them; delete or merge what you do not need", "there are %d conflict copies", s.Conflicts)
	}
	lost, other, ignored := engine.Split(s.Problems)
	strayed := slices.DeleteFunc(slices.Clone(ignored), func(p engine.Problem) bool { return p.Kind != engine.Strayed })
	switch {
	case len(lost) > 0:
		return p("not_synched", "signet status lists them", "%d names do not sync, the first is %s: %s", len(lost), lost[0].Path, lost[0].Message)
	case standing && len(other) > 0:
		return p("alias", other[0].Hint, "%d names are others on this disk, the first is %s: it %s", len(other), other[0].Path, other[0].Message)
	case len(strayed) > 0:
		return p(engine.Strayed, strayed[0].Hint, "%d names were moved to where they are ignored, the first: %s %s", len(strayed), strayed[0].Path, strayed[0].Message)
	case standing && len(ignored) > 0:
		return p(ignored[0].Kind, ignored[0].Hint, "%s %s", ignored[0].Path, ignored[0].Message)
	}
	return nil
}

// A SyncResult is what sync did, and what went wrong beside it.
type SyncResult struct {
	Volumes []Synced       `json:"volumes"`
	Fault   *control.Fault `json:"fault,omitempty"`
}

// explain gives the engine's errors a kind and a hint.
func explain(err error, dir string) error {
	switch classify(err) {
	case engine.RootMissing:
		return &problem{"root_missing", "the folder is missing; nothing was deleted anywhere", "bring it back, or where it was moved to: signet add --relink --region NAME NEWPLACE", control.Attention}
	case engine.RootOther:
		return &problem{"root_replaced", "the folder is not the one that was added (not mounted, or made anew); nothing was deleted anywhere",
			"mount it, or signet add --relink " + dir + " to join what is there by content", control.Attention}
	case engine.NoRoom:
		return &problem{"no_space", err.Error(), "free some space, then sync again", control.Attention}
	}
	switch {
	case errors.Is(err, engine.ErrOtherVolume):
		return &problem{"root_replaced", err.Error() + "; nothing was deleted anywhere", "signet add --relink " + dir, control.Attention}
	case errors.Is(err, engine.ErrNoRoom):
		return &problem{"no_space", err.Error(), "free some space, then sync again", control.Attention}
	}
	return err
}

func (w *Work) syncOne(ctx context.Context, id string) (engine.Counters, error) {
	before := w.Engine.VolumeStatus(id)
	switch {
	case before.State == engine.Paused: // it would stay so, or transfer all the same
		return engine.Counters{}, nil
	case !w.Running:
		return w.syncVolume(ctx, id)
	}
	s, err := w.settled(ctx, id)
	return s.Counters.Minus(before.Counters), err
}

// givesUpAfter is how long a command waits for a disk that answers nothing: longer than
// any disk takes to make durable what a machine may have in memory for it.
const givesUpAfter = 2 * time.Minute

// syncVolume brings a volume in step that no daemon runs. Where its disk is silent it
// ends, and leaves what waits for the disk to the end of the program.
func (w *Work) syncVolume(ctx context.Context, id string) (engine.Counters, error) {
	type result struct {
		c   engine.Counters
		err error
	}
	done := make(chan result, 1) // nobody may be there to take it
	go func() {
		c, err := w.Engine.SyncVolume(ctx, id)
		done <- result{c, err}
	}()
	for {
		select {
		case r := <-done:
			return r.c, r.err
		case <-time.After(time.Second):
			if w.Engine.Silent(id) >= givesUpAfter {
				return engine.Counters{}, stateError(w.Engine.VolumeStatus(id))
			}
		}
	}
}

// settled waits until a running volume is in step, or cannot get there by
// itself.
func (w *Work) settled(ctx context.Context, id string) (engine.VolumeStatus, error) {
	var last engine.VolumeStatus
	since := time.Now() // that nothing was done
	for {
		changed := w.Engine.Changed()
		s, err := w.Engine.Settle(ctx, id)
		if err != nil {
			return s, err
		}
		switch s.State {
		case engine.InStep, engine.Held, engine.Stopped, engine.ReadOnly, engine.OverQuota, engine.AlarmedAt, engine.Starved, engine.Paused:
			return s, stateError(s)
		case engine.Syncing:
			if !idle(last, s) {
				since = time.Now()
			}
			if s.Hint != "" || time.Since(since) > stuckFor {
				return s, stateError(s)
			}
		}
		last = s
		// To ask makes the volume look, and that may be all that changes.
		if err := pause(ctx, nil, 50*time.Millisecond); err != nil {
			return s, err
		}
		if err := pause(ctx, changed, time.Second); err != nil {
			return s, err
		}
	}
}

// pause waits until something changed, at most for some time.
func pause(ctx context.Context, changed <-chan struct{}, most time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-time.After(most):
	}
	return nil
}

// stuckFor is how long a volume of which names do not sync may do nothing
// before nobody waits for it any more. Deletions that may not be all wait for
// less, and so does a disk that is tried again.
const stuckFor = 6 * time.Second

// idle reports whether a volume did nothing from one full look to the next,
// and names of it do not sync.
func idle(last, s engine.VolumeStatus) bool {
	return last.State == engine.Syncing && len(s.Problems) > 0 && len(s.Problems) == len(last.Problems) &&
		s.Counters == last.Counters && s.SafeBytes == last.SafeBytes && s.SafeFiles == last.SafeFiles
}

func stateError(s engine.VolumeStatus) error {
	switch s.State {
	case engine.Stopped:
		return &problem{"stopped", s.Reason, s.Hint, control.Attention}
	case engine.Starved:
		return &problem{"starved", s.Reason, s.Hint, control.Unreachable}
	case engine.Syncing:
		if s.Hint != "" { // only room is waited for like this
			return &problem{"no_space", s.Reason, s.Hint, control.Attention}
		}
	case engine.OverQuota:
		return &problem{"quota", s.Reason, s.Hint, control.NotAllowed}
	case engine.ReadOnly:
		return fmt.Errorf("%s: %w", s.Reason, signet.ErrNotAllowed)
	case engine.AlarmedAt:
		return fmt.Errorf("%s: %w", s.Reason, signet.ErrNotVerified)
	}
	return nil
}

// progress shows how far a volume is until the returned function is called.
func (w *Work) progress(ctx context.Context, id string, ui control.UI) (stop func()) {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		start, first := time.Now(), w.Engine.VolumeStatus(id).Counters
		t := time.NewTicker(250 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-t.C:
			}
			s := w.Engine.VolumeStatus(id)
			p := control.Progress{What: string(s.State), Files: s.SafeFiles, FilesTotal: s.Files, Bytes: s.SafeBytes, BytesTotal: s.Bytes}
			moved := s.Counters.Minus(first)
			if sec := time.Since(start).Seconds(); sec > 0.5 {
				p.Rate = float64(moved.BytesUp+moved.BytesDown) / sec
				if left := s.Bytes - s.SafeBytes; p.Rate > 0 && left > 0 {
					p.ETA = float64(left) / p.Rate
				}
			}
			ui.Progress(p)
		}
	}()
	return func() { close(done); <-ended }
}
