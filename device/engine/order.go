package engine

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
	"signet/device/line"
)

// What is sent and fetched comes in this order: what waits for no content, what
// a person just saved, small files, the smallest first, large files, these too;
// the largest has a share of the line meanwhile, see line. How much a turn takes
// on, and how much one request carries, is said in seconds of the line: so a
// document that is saved now waits as long on a slow line as on a fast one.

// justNow is for how long what was saved goes before everything else.
const justNow = 2 * time.Minute

// What a person saves at a time is no more than this; what is more was copied,
// and goes by its size.
const (
	savedMost  = 64
	savedBytes = 1 << 20 // or a second of the line, whichever is more
)

// assumedSpeed is the rate of a line, in bytes a second, that nothing was
// measured of yet.
const assumedSpeed = 4 << 20

// speed is the rate of the line in bytes a second.
func (d *Device) speed(way line.Direction) float64 {
	if d.Line == nil {
		return math.Inf(1)
	}
	if r := d.Line.Rate(way); r > 0 {
		return r
	}
	return assumedSpeed
}

// within is what the line carries in some seconds, but from least to most bytes.
func (d *Device) within(way line.Direction, seconds float64, least, most int64) int64 {
	return int64(min(max(seconds*d.speed(way), float64(least)), float64(most)))
}

// heavyFrom is from which size on a file travels beside the loop now.
func (d *Device) heavyFrom(way line.Direction) int64 {
	return d.within(way, 0.5, leastHeavy, heavySize)
}

// groupOf is how many bytes go into one request now.
func (d *Device) groupOf(way line.Direction) int {
	return int(d.within(way, 0.125, 128<<10, groupSize))
}

// heavyUp reports whether a file is read and sent beside the loop. One that is
// on its way stays there, whatever the line is like now.
func (v *volume) heavyUp(id signet.NodeID, size int64) bool {
	if size >= v.d.heavyFrom(line.Up) {
		return true
	}
	h, _ := v.beside.of(v.beside.up, id)
	return h != nil && size >= leastHeavy
}

// heavyFetch reports whether an action fetches what travels beside the loop.
func (v *volume) heavyFetch(a *plan.Action) bool {
	if !fetches(a) || a.Remote.Type != tree.File || a.Remote.Size < leastHeavy {
		return false
	}
	if a.Remote.Size >= v.d.heavyFrom(line.Down) {
		return true
	}
	h, _ := v.beside.of(v.beside.down, a.Node)
	return h != nil
}

func fetches(a *plan.Action) bool { return a.Verb == plan.Fetch || a.Verb == plan.Replace }

// hurried reports whether a turn that began at some time makes room for the
// next: something was saved, and it had a moment of its own.
func (v *volume) hurried(began time.Time) bool {
	return len(v.hints) > 0 && v.mayHurry(began)
}

func (v *volume) mayHurry(began time.Time) bool {
	return v.d.Line != nil && v.d.Now().Sub(began) > max(hurry, v.looking)
}

// hurry is how long a turn goes on all the same, so that a program that writes
// all the time does not make turns of nothing but looking: no less than half of a
// turn is work, however much there is to look at.
const hurry = 300 * time.Millisecond

// disturbed is hurried, where the watch also speaks of what the turn itself did to
// the disk: that is no reason to end it. Else a turn that places many files would
// place a few, and the next would be planned from the start. It takes the hints.
func (v *volume) disturbed(began time.Time, own map[signet.NodeID]bool) bool {
	for v.mayHurry(began) {
		select {
		case e, ok := <-v.hints:
			if !v.hint(e, ok) {
				return true
			}
			folder, name := split(e.Path)
			switch it := v.child(folder, name); {
			case e.Kind == Removed: // can wait: it is hesitated over
			case it == nil || !own[it.id]:
				return true
			}
		default:
			return false
		}
	}
	return false
}

// stably sorts a list of what is large to move: it moves each once.
func stably[T any](list []T, compare func(a, b *T) int) {
	at := make([]int, len(list))
	for i := range at {
		at[i] = i
	}
	slices.SortFunc(at, func(i, j int) int { return cmp.Or(compare(&list[i], &list[j]), cmp.Compare(i, j)) })
	sorted := make([]T, len(list))
	for i, from := range at {
		sorted[i] = list[from]
	}
	copy(list, sorted)
}

// noteSaved notes the files that the watch spoke of one by one: somebody saved
// them. What a scan finds was there before, or came in a folder.
func (v *volume) noteSaved() {
	now := v.d.Now()
	for _, path := range v.touched {
		if id, ok := v.index.find(path); ok && id != signet.RootNode {
			if it := v.index.items[id]; it != nil && it.stat.Type == tree.File {
				it.saved = now.UnixNano()
			}
		}
	}
	v.touched = v.touched[:0]
}

// savedNow reports whether a file was saved a moment ago.
func (v *volume) savedNow(id signet.NodeID) (at time.Time, ok bool) {
	it := v.index.items[id]
	if it == nil || it.saved == 0 {
		return at, false
	}
	at = time.Unix(0, it.saved)
	return at, v.d.Now().Sub(at) <= justNow
}

// fetchedNow reports whether an action fetches what somebody saved a moment ago,
// by the clock of whoever did.
func (v *volume) fetchedNow(a *plan.Action) (at time.Time, ok bool) {
	if v.d.Line == nil || !fetches(a) {
		return at, false
	}
	at = time.Unix(0, a.Remote.MTime)
	age := v.d.Now().Sub(at)
	return at, age < justNow && age > -justNow
}

// newest are the indexes of what goes first of n files: what was saved a moment
// ago, the newest first, as much as a person saves.
func (v *volume) newest(n int, way line.Direction, at func(int) (time.Time, bool), size func(int) int64) []int {
	type one struct {
		i  int
		at time.Time
	}
	var list []one
	for i := range n {
		if t, ok := at(i); ok {
			list = append(list, one{i, t})
		}
	}
	slices.SortStableFunc(list, func(a, b one) int { return b.at.Compare(a.at) })
	var first []int
	room := v.d.within(way, 1, savedBytes, 1<<40)
	for _, x := range list {
		if len(first) == savedMost || len(first) > 0 && size(x.i) > room {
			break
		}
		first, room = append(first, x.i), room-size(x.i)
	}
	return first
}

// A chosen file may begin its way beside the loop, as one of a class.
type chosen[T any] struct {
	what  T
	class line.Class
}

// choose says which of those that wait may begin: one that was saved a moment
// ago, one that is the largest, one that is the smallest.
func choose[T any](b *besides, in map[signet.NodeID]*haul, list []T, size func(T) int64, saved func(T) bool) (begin []chosen[T]) {
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(size(a), size(b)) })
	busy := b.classes(in)
	take := func(i int, c line.Class) {
		begin = append(begin, chosen[T]{list[i], c})
		list = slices.Delete(list, i, i+1)
	}
	if i := slices.IndexFunc(list, saved); i >= 0 && !busy[line.Saved] {
		take(i, line.Saved)
	}
	if len(list) > 0 && !busy[line.Largest] {
		take(len(list)-1, line.Largest)
	}
	if len(list) > 0 && !busy[line.Next] {
		take(0, line.Next)
	}
	return begin
}

// classes are those of the hauls under way.
func (b *besides) classes(in map[signet.NodeID]*haul) map[line.Class]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	busy := map[line.Class]bool{}
	for _, h := range in {
		if !h.ended {
			busy[h.class] = true
		}
	}
	return busy
}

// as is the context and the lanes of a haul of a class.
func (v *volume) as(ctx context.Context, c line.Class) (context.Context, lane) {
	return line.With(ctx, c), v.d.lanes[c]
}
