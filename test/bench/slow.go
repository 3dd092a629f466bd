//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"signet/test/slowline"
)

// The slow line is a folder seeded over one: 140 GB and 10 Mbit/s, scaled by a thousand
// in size. A person goes on saving documents meanwhile. It wants root, for the line, and
// measures Signet alone.

// slowBits is the line's rate, in each direction.
const slowBits = 10_000_000

// slowDelay is how much longer a byte takes, one way.
const slowDelay = 20 * time.Millisecond

// slowFiles are the sizes of what is seeded, from a seed: documents, photos,
// and a few films.
func slowFiles(share int) map[string]int64 {
	r := rand.New(rand.NewPCG(140, 7))
	files := map[string]int64{}
	for i := range 2000 / share {
		files[fmt.Sprintf("documents/d%04d.txt", i)] = int64(2<<10 + r.IntN(28<<10))
	}
	for i := range 60 / share {
		files[fmt.Sprintf("photos/p%03d.jpg", i)] = int64(200<<10 + r.IntN(600<<10))
	}
	for i, mib := range []int{9, 14, 44} {
		files[fmt.Sprintf("films/f%d.mp4", i)] = int64(mib<<20) / int64(share)
	}
	return files
}

// A seeding is what came of it.
type seeding struct {
	All, Ninety float64   // seconds until all files, and 90 % of those under 1 MB, were with the other device
	Saved       []float64 // seconds from a save until the other device had it
	Rate        float64   // bytes a second, over the whole
	// Of what the device sent until Ninety, the part of the largest file that
	// waited; and the least of 10 s, until all small files were sent.
	Largest, Least float64
}

// A sample is how many bytes of objects a device has sent, and those of them of
// the largest file that waited, by its status.
type sample struct{ all, largest int64 }

func (p *signetPair) sample(ctx context.Context, home string) (s sample, err error) {
	out, err := p.signet(ctx, home, "", "--json", "status")
	if err != nil {
		return s, err
	}
	var x struct {
		Line struct {
			Up struct {
				Saved   int64 `json:"bytes_saved"`
				Small   int64 `json:"bytes_small"`
				Next    int64 `json:"bytes_next"`
				Largest int64 `json:"bytes_largest"`
			}
		}
	}
	err = json.Unmarshal([]byte(out), &x)
	u := x.Line.Up
	return sample{u.Saved + u.Small + u.Next + u.Largest, u.Largest}, err
}

// slow seeds a folder over a slow line.
func slow(ctx context.Context, o options, bin string, share int) (out seeding, err error) {
	line, err := slowline.Open(slowBits, slowDelay)
	if err != nil {
		return out, err
	}
	defer line.Close()
	dir := filepath.Join(o.work, "slow")
	p := &signetPair{bin: bin, dir: dir, daemon: map[string]*process{}, in: map[string][]string{"a": line.Near(), "b": line.Far()}}
	defer p.close()
	if err := p.serve(ctx, line.Addr(), func(at string) { line.Upstream.Store(&at) }, "a", "b"); err != nil {
		return out, err
	}
	a, b := p.folders()
	sizes := slowFiles(share)
	var small, all []string
	var total int64
	source := noise(140)
	for name, size := range sizes {
		path := filepath.Join(a, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return out, err
		}
		f, err := os.Create(path)
		if err != nil {
			return out, err
		}
		if _, err := io.CopyN(f, source, size); err != nil {
			return out, err
		}
		if err := f.Close(); err != nil {
			return out, err
		}
		if total += size; size < 1_000_000 {
			small = append(small, name)
		}
		all = append(all, name)
	}
	count := len(small)
	for _, d := range []string{"b", "a"} {
		if _, err := p.signet(ctx, d, "", "add", filepath.Join(dir, d), "--region", "Bench"); err != nil {
			return out, err
		}
	}
	if err := p.begin(ctx, "b"); err != nil {
		return out, err
	}
	began, from := time.Now(), line.Up.Load()
	if err := p.begin(ctx, "a"); err != nil {
		return out, err
	}
	there := func(name string) bool {
		info, err := os.Lstat(filepath.Join(b, name))
		return err == nil && info.Size() == sizes[name]
	}
	saves, nextSave, tick := 0, began.Add(5*time.Second), 0
	var waiting string
	var since time.Time
	var samples []sample // one every 5 s
	out.Least = 1
	err = until(ctx, 50*time.Millisecond, func() (bool, error) {
		now := time.Now()
		if waiting != "" {
			if _, err := os.Lstat(filepath.Join(b, waiting)); err == nil {
				out.Saved = append(out.Saved, now.Sub(since).Seconds())
				waiting = ""
			}
		} else if now.After(nextSave) {
			waiting = fmt.Sprintf("letter-%03d.txt", saves)
			text := make([]byte, 20<<10)
			if _, err := io.ReadFull(source, text); err != nil {
				return false, err
			}
			if err := os.WriteFile(filepath.Join(a, waiting), text, 0o644); err != nil {
				return false, err
			}
			saves, since, nextSave = saves+1, time.Now(), now.Add(5*time.Second)
		}
		if tick++; tick%10 != 0 {
			return false, nil
		}
		small = slices.DeleteFunc(small, there)
		all = slices.DeleteFunc(all, there)
		if tick%100 == 0 {
			o.say("    %5.1f s: %d files left, %d of them under 1 MB, %.1f MB sent", now.Sub(began).Seconds(), len(all), len(small), float64(line.Up.Load()-from)/1e6)
			now, err := p.sample(ctx, "a")
			if err != nil {
				return false, err
			}
			samples = append(samples, now)
			if n := len(samples); n > 3 && len(small) > 0 { // the first seconds count for little
				then := samples[n-3]
				out.Least = min(out.Least, float64(now.largest-then.largest)/float64(now.all-then.all))
			}
		}
		if out.Ninety == 0 && len(small)*10 <= count {
			out.Ninety = now.Sub(began).Seconds()
			at, err := p.sample(ctx, "a")
			if err != nil {
				return false, err
			}
			out.Largest = float64(at.largest) / float64(at.all)
		}
		return len(all) == 0 && waiting == "", nil
	})
	out.All = time.Since(began).Seconds()
	out.Rate = float64(total) / out.All
	return out, err
}

// runSlow is the slow line, which is measured by itself.
func runSlow(ctx context.Context, o options, bin string) error {
	share := 1
	if o.size == quick {
		share = 40
	}
	s, err := slow(ctx, o, bin, share)
	if err != nil {
		return err
	}
	fmt.Printf("seeding over 10 Mbit/s, 40 ms there and back: all after %.1f s, 90 %% of the files under 1 MB after %.1f s\n", s.All, s.Ninety)
	fmt.Printf("the largest file had %.0f %% of the line until then, and at least %.0f %% over 10 s while there were small ones\n", 100*s.Largest, 100*s.Least)
	fmt.Printf("%d documents saved meanwhile: with the other device after %.2f s (median), %.2f s (most); %.2f MB/s over the whole\n", len(s.Saved), quantile(s.Saved, 0.5), slices.Max(s.Saved), s.Rate/1e6)
	return nil
}
