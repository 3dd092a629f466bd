package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"signet/core/tree"
)

// A disk may answer nothing at all: one of a network whose server is gone, or one that
// dies. A call to it cannot be taken back, and what it will have done when it returns
// nobody knows, so the volume's loop waits for it, however long that is: nothing is
// concluded, least of all that something was deleted. But nobody else waits with it. It
// is said, and who wants an end gets one.

// silentAfter is how long a disk must not have answered, while it was asked something,
// to be called silent. One that sleeps needs some ten seconds to turn.
const silentAfter = 30 * time.Second

// A silence knows how long a disk has not answered.
type silence struct {
	asked atomic.Int64 // calls that have not returned
	last  atomic.Int64 // ns since 1970: when one began or returned last
	now   func() time.Time
}

func (s *silence) ask() {
	s.last.Store(s.now().UnixNano())
	s.asked.Add(1)
}

func (s *silence) answer() {
	s.asked.Add(-1)
	s.last.Store(s.now().UnixNano())
}

// lasts is for how long the disk has not answered; 0 where nothing is asked of it.
func (s *silence) lasts() time.Duration {
	if s.asked.Load() == 0 {
		return 0
	}
	return max(s.now().Sub(time.Unix(0, s.last.Load())), 0)
}

// is reports whether the disk counts as silent, and what is to be said of that.
func (s *silence) is() (reason, hint string, is bool) {
	d := s.lasts()
	if d < silentAfter {
		return "", "", false
	}
	return fmt.Sprintf("the disk has not answered for %s", d.Round(time.Second)),
		"look after the disk, or the network that it is on; nothing is deleted meanwhile, and it goes on by itself when the disk answers", true
}

// Silent is for how long the disk of a volume has not answered what it was asked; 0
// where it does.
func (d *Device) Silent(id string) time.Duration {
	v, err := d.volume(id)
	if err != nil {
		return 0
	}
	return v.silence.lasts()
}

// waitEnd waits for the end of a volume's loop, but not for a disk that is silent.
func (v *volume) waitEnd() {
	for {
		select {
		case <-v.ended:
			return
		case <-time.After(silentAfter / 3):
			if _, _, is := v.silence.is(); is {
				return
			}
		}
	}
}

// heard is a volume whose calls a silence hears. What Scan emits counts as an answer.
type heard struct {
	Volume
	s *silence
}

func (h heard) Check() error {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Check()
}

func (h heard) Scan(ctx context.Context, from string, skip func(path string) bool, emit func(Listing) error) error {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Scan(ctx, from, skip, func(l Listing) error {
		h.s.answer()
		defer h.s.ask()
		return emit(l)
	})
}

func (h heard) Stat(path string) (tree.Stat, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Stat(path)
}

func (h heard) Read(path string) (Reading, error) {
	h.s.ask()
	defer h.s.answer()
	r, err := h.Volume.Read(path)
	if err != nil {
		return nil, err
	}
	return heardReading{r, h.s}, nil
}

func (h heard) SetChoice(n uint64) error {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.SetChoice(n)
}

func (h heard) Stage(name string) (Staged, error) {
	h.s.ask()
	defer h.s.answer()
	s, err := h.Volume.Stage(name)
	if err != nil {
		return nil, err
	}
	return heardStaged{s, h.s}, nil
}

func (h heard) Settle(ctx context.Context, files []Staged) error {
	h.s.ask()
	defer h.s.answer()
	own := make([]Staged, len(files))
	for i, f := range files {
		own[i] = f.(heardStaged).Staged
	}
	return h.Volume.Settle(ctx, own)
}

func (h heard) Place(s Staged, path string) (tree.Stat, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Place(s.(heardStaged).Staged, path)
}

func (h heard) Replace(s Staged, path string, expect tree.Stat, trash string) (tree.Stat, Displaced, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Replace(s.(heardStaged).Staged, path, expect, trash)
}

func (h heard) Symlink(target, path string) (tree.Stat, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Symlink(target, path)
}

func (h heard) ReplaceLink(target, path string, expect tree.Stat, trash string) (tree.Stat, Displaced, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.ReplaceLink(target, path, expect, trash)
}

func (h heard) Mkdir(path string, mode uint32) (tree.Stat, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Mkdir(path, mode)
}

func (h heard) Move(from, to string, expect tree.Stat) (tree.Stat, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Move(from, to, expect)
}

func (h heard) SetMeta(path string, expect tree.Stat, mode uint32, mtime int64) (tree.Stat, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.SetMeta(path, expect, mode, mtime)
}

func (h heard) Trash(path string, expect tree.Stat, id string) (Displaced, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Trash(path, expect, id)
}

func (h heard) RemoveDir(path string) error {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.RemoveDir(path)
}

func (h heard) Sync(ctx context.Context) error {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Sync(ctx)
}

func (h heard) Free() (bytes, total uint64, err error) {
	h.s.ask()
	defer h.s.answer()
	return h.Volume.Free()
}

// heardReading is a file being read whose reads are heard.
type heardReading struct {
	Reading
	s *silence
}

func (h heardReading) Read(p []byte) (int, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Reading.Read(p)
}

func (h heardReading) ReadAt(p []byte, off int64) (int, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Reading.ReadAt(p, off)
}

func (h heardReading) Unchanged() error {
	h.s.ask()
	defer h.s.answer()
	return h.Reading.Unchanged()
}

// heardStaged is a file in the making whose writes are heard.
type heardStaged struct {
	Staged
	s *silence
}

func (h heardStaged) Write(p []byte) (int, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Staged.Write(p)
}

func (h heardStaged) WriteAt(p []byte, off int64) (int, error) {
	h.s.ask()
	defer h.s.answer()
	return h.Staged.WriteAt(p, off)
}

func (h heardStaged) Finish(mode uint32, mtime int64) error {
	h.s.ask()
	defer h.s.answer()
	return h.Staged.Finish(mode, mtime)
}
