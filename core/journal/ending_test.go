package journal_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"signet"
	"signet/core/journal"
	"signet/core/ring/ringtest"
)

const eightDays = 8 * 24 * 3600 * 1000

func TestWhoEndsObjects(t *testing.T) {
	w, _, j := start(t)
	x, y := signet.ObjectID{1}, signet.ObjectID{2}
	condemned := j.Sign(j.End(journal.Condemn, "a", journal.Ending{Days: 7, Objects: []signet.ObjectID{x, y}}), "a")
	e, err := j.Offer(condemned)
	w.Must(err)
	if j.State.Condemned(x) != e.Hash || len(j.State.Sentences()) != 1 || j.State.Sentences()[0].Left != 2 || !slices.Equal(e.Ending, []signet.ObjectID{x, y}) {
		t.Errorf("condemned: %v %v", j.State.Sentences(), e.Ending)
	}
	collect := func(ids ...signet.ObjectID) error {
		_, err := j.Offer(j.Sign(j.End(journal.Collect, "b", journal.Ending{Condemn: e.Hash, Objects: ids}), "b"))
		return err
	}
	if err := collect(x); !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("collected at once: %v", err)
	}
	j.Now += eightDays
	w.Must(collect(y))
	if j.State.Condemned(x) != e.Hash || j.State.Condemned(y) != (signet.Hash{}) || j.State.Floor() != e.Position+1 || j.State.Sentences()[0].Left != 1 {
		t.Errorf("after a collect: %v, floor %d", j.State.Sentences(), j.State.Floor())
	}
	_, err = j.Offer(j.Sign(j.End(journal.Spare, "b", journal.Ending{Objects: []signet.ObjectID{x}}), "b"))
	w.Must(err)
	if len(j.State.Sentences()) != 0 {
		t.Errorf("after a spare: %v", j.State.Sentences())
	}
	if err := collect(x); !errors.Is(err, signet.ErrConflict) {
		t.Errorf("collected what was spared: %v", err)
	}
	same(t, j, "a", "b")
}

// A known is what is known at a size of the journal: which objects are in use,
// and what the State said.
type known struct {
	used      map[signet.ObjectID]bool
	condemned map[signet.ObjectID]signet.Hash
	sentences []journal.Sentence
	latest    signet.Hash
	own       map[string]signet.Hash
	gone      map[signet.ObjectID]bool
}

// Devices that know the journal up to some size each use objects, give them up,
// condemn, spare and collect what they see no use for, in entries that come late
// or not at all. No collect in effect names an object that is in use, and nobody
// uses one that is gone.
func TestNoCollectNamesWhatIsUsed(t *testing.T) {
	w := ringtest.New(t)
	r := w.Found("a")
	w.Draw(r, "a+b a+c")
	base := w.Region(r, "a")
	genesis := base.Log[0]
	all := []signet.ObjectID{{1}, {2}, {3}}
	names := []string{"a", "b", "c"}
	collected := 0
	rapid.Check(t, func(rt *rapid.T) {
		j := &ringtest.Journal{World: w, ID: base.ID, State: journal.NewState(base.ID, w.Directory())}
		if _, _, err := j.Force(genesis); err != nil {
			rt.Fatal(err)
		}
		now := known{used: map[signet.ObjectID]bool{}, gone: map[signet.ObjectID]bool{}}
		var log []known // by position: what was known before
		note := func() {
			k := known{used: maps.Clone(now.used), gone: maps.Clone(now.gone), condemned: map[signet.ObjectID]signet.Hash{}, own: map[string]signet.Hash{},
				sentences: slices.Clone(j.State.Sentences()), latest: j.State.Latest()}
			for _, id := range all {
				if h := j.State.Condemned(id); h != (signet.Hash{}) {
					k.condemned[id] = h
				}
			}
			for _, d := range names {
				k.own[d] = j.State.Own(w.ID(d))
			}
			log = append(log, k)
		}
		log = append(log, known{})
		note()
		type sent struct {
			rec  signet.Record
			use  signet.ObjectID
			drop bool
		}
		var mail []sent
		seen := map[string]int{"a": 1, "b": 1, "c": 1}
		for range rapid.IntRange(1, 100).Draw(rt, "steps") {
			by := rapid.SampledFrom(names).Draw(rt, "device")
			k := log[seen[by]]
			d := func(typ journal.Type, g journal.Ending) sent {
				e := j.Draft(journal.Content, by)
				if typ.Authority() {
					e = j.End(typ, by, g)
				}
				e.Seen, e.Authority, e.Own = j.CheckpointAt(uint64(seen[by])), k.latest, k.own[by]
				if typ.Authority() {
					e.Own = signet.Hash{}
				}
				return sent{rec: j.Sign(e, by)}
			}
			id := rapid.SampledFrom(all).Draw(rt, "object")
			switch rapid.IntRange(0, 15).Draw(rt, "verb") {
			case 0, 1, 2:
				seen[by] = int(j.State.Size())
			case 3:
				if h, doomed := k.condemned[id]; !k.gone[id] && (!doomed || h == signet.Hash{}) {
					s := d(journal.Content, journal.Ending{})
					s.use = id
					mail = append(mail, s)
				}
			case 4:
				s := d(journal.Content, journal.Ending{})
				s.use, s.drop = id, true
				mail = append(mail, s)
			case 5, 6:
				if _, doomed := k.condemned[id]; !k.used[id] && !doomed && !k.gone[id] {
					mail = append(mail, d(journal.Condemn, journal.Ending{Days: 7, Objects: []signet.ObjectID{id}}))
				}
			case 7:
				if _, doomed := k.condemned[id]; doomed {
					mail = append(mail, d(journal.Spare, journal.Ending{Objects: []signet.ObjectID{id}}))
				}
			case 8, 9:
				if h, doomed := k.condemned[id]; doomed && !k.used[id] {
					mail = append(mail, d(journal.Collect, journal.Ending{Condemn: h, Objects: []signet.ObjectID{id}}))
				}
			case 10:
				j.Now += eightDays
			default:
				if len(mail) == 0 {
					continue
				}
				n := rapid.IntRange(0, len(mail)-1).Draw(rt, "which")
				m := mail[n]
				mail = slices.Delete(mail, n, n+1)
				e, _, err := j.Force(m.rec)
				if err != nil {
					rt.Fatal(err)
				}
				switch {
				case e == nil || e.Void != nil:
				case e.Type == journal.Content:
					if !m.drop && now.gone[m.use] {
						rt.Fatalf("%v is used and gone", m.use)
					}
					now.used[m.use] = !m.drop
				case e.Type == journal.Collect:
					collected++
					for _, id := range e.Ending {
						if now.used[id] {
							rt.Fatalf("%v is collected and used", id)
						}
						now.gone[id] = true
					}
				}
				note()
			}
		}
	})
	// -short has twenty histories, which may well have none.
	if collected == 0 && !testing.Short() {
		t.Error("nothing was ever collected")
	}
}
