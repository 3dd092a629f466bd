package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"signet"
	"signet/core/plan"
	"signet/core/seal"
	"signet/core/tree"
	"signet/device/ignore"
)

// A State says what a volume is doing.
type State string

// The states of a volume (the command line's contract).
const (
	InStep    State = "in_step"
	Scanning  State = "scanning"
	Syncing   State = "syncing"
	Verifying State = "verifying"
	Paused    State = "paused"
	Held      State = "held"
	Offline   State = "offline"
	Recover   State = "recovering"
	ReadOnly  State = "read_only"
	OverQuota State = "over_quota"
	Stopped   State = "stopped"
	Starved   State = "starved"
	AlarmedAt State = "alarm"
)

// volume is a folder that is kept in step with a region. Its loop is the only
// one that touches disk and index; what others may ask for is under mu.
type volume struct {
	d      *Device
	id     string
	dir    string
	region *openRegion
	added  time.Time
	stop   context.CancelFunc // ends its loop; with ended under the device's lock
	ended  chan struct{}      // closed when its loop ended; nil before it began

	disk   Volume
	caps   tree.Caps    // of disk
	diskMu sync.RWMutex // held by the loop to set disk, and by others to use it
	index  *index

	silence silence // of disk

	blocked     map[signet.NodeID]blocked
	holds       map[signet.NodeID]bool     // what the last plan holds back for a reason that a person can mend
	still       bool                       // it is only looked: nothing is read beside the loop, which may send
	forgiven    time.Time                  // when what waits was tried again last
	floor       uint64                     // of the journal that was planned with last
	displaced   []displaced                // files that we replaced a moment ago
	noted       []notedFile                // those of them that were open for writing
	last        *plan.State                // memory of the planner
	retries     int                        // turns in a row that the world changed under
	looking     time.Duration              // how long the last turn took beside reading and sending
	stuck       time.Duration              // how long it waited last because nothing of a plan could be done
	lastTree    *tree.Tree                 // which tree that is of
	stored      uint64                     // region.seen as the store has it
	said        uint64                     // what the index says that disk has of number
	choiceNoted uint64                     // what disk has of number
	heldUp      bool                       // the plan of this turn holds deletions back
	dying       dying                      // deletions that may not be all
	returning   dying                      // what is gone here, and may turn up before it is brought back
	fresh       bool                       // not described yet
	scan        bool                       // everything is to be looked at
	look        map[string]map[string]bool // folders to look at: names, or all of it where nil
	arrived     map[string]bool            // names among them that a rename made: if folders, all of them
	hints       <-chan Event               // of the watch; nil where there is none
	rules       *ignore.Rules              // of what is not observed
	ruled       ruled                      // where they are from
	touched     []string                   // what the watch said was written or came, since the last look
	unlinked    map[string]bool            // what the watch said is gone, and not renamed, since the last look
	strayed     []Problem                  // what came back since the last full look: see seek
	inUse       map[signet.NodeID]bool     // what is not selected and stays because a program has it open for writing
	sealed      map[[32]byte]sealedFile    // by hash: what was sealed while it was hashed, and not committed yet
	small       map[[32]byte]*seal.Ref     // likewise, of files of one piece
	crowded     crowded                    // of a service without room
	beside      *besides                   // large files on their way
	sketches    sketches                   // and those that come before an entry names them
	moving      moving                     // files that leave for another volume
	sizes       map[int64]bool             // of large files that the region has; nil until asked for
	racy        time.Time                  // when files hashed too soon after a change are to be hashed again

	mu        sync.Mutex
	status    VolumeStatus
	counters  Counters
	guard     guard
	marks     plan.Marks // what is selected; never changed, but replaced
	number    uint64     // how often somebody chose
	taken     plan.Marks // what plans are made by, of this life or the last
	joining   bool       // taken is of the last life
	rechosen  bool       // by others than the loop, since its last plan
	asked     int        // how often a full look was asked for, and answered
	answered  int
	paused    pause
	surveys   []chan<- Survey // of those who ask what is unsafe
	inquiries []*inquiry      // of other volumes
	poke      chan struct{}
	// interrupt ends the turn that is going on.
	interrupt context.CancelFunc
	total     Counters // since the volume was added, with what counters had when stored
	saved     []byte   // what the store has of total and status
	pace      pace
	described int64 // total.BytesUp when status.SafeBytes was counted
}

// A VolumeStatus is what status shows of a volume.
type VolumeStatus struct {
	Path        string            `json:"path"`
	Region      string            `json:"region"`
	RegionID    string            `json:"region_id"`
	Generation  signet.Generation `json:"generation"`
	State       State             `json:"state"`
	Unwitnessed bool              `json:"unwitnessed"`
	Reason      string            `json:"reason,omitempty"`
	Hint        string            `json:"hint,omitempty"`
	Used        int64             `json:"used_bytes,omitempty"`  // on the service, by the owner of the region
	Limit       int64             `json:"limit_bytes,omitempty"` // that the owner may use; 0: any, or not known
	Files       int64             `json:"files"`
	Bytes       int64             `json:"bytes"`
	SafeFiles   int64             `json:"safe_files"`
	SafeBytes   int64             `json:"safe_bytes"`
	ETASeconds  int64             `json:"eta_seconds"`
	HeldDeletes int               `json:"held_deletes"`
	Conflicts   int               `json:"conflicts"`
	Ignored     int               `json:"ignored"`    // names that the rules leave out; what is below them is not counted
	Unselected  int               `json:"unselected"` // names that are not selected here; what is below them is not counted
	Problems    []Problem         `json:"problems"`
	Counters    Counters          `json:"counters"`
	Seeding     *Seeding          `json:"seeding,omitempty"`      // nil: added before this was noted
	PausedUntil *time.Time        `json:"paused_until,omitempty"` // nil: it is not, or until somebody resumes it
}

// A Seeding says how a folder that was added came in step for the first time.
type Seeding struct {
	Begun time.Time  `json:"begun"`
	Done  *time.Time `json:"done,omitempty"` // nil: not yet
	Files int64      `json:"files"`          // sent and fetched until then
	Bytes int64      `json:"bytes"`          // on the wire
	Rate  float64    `json:"bytes_per_second"`
}

// seeded notes that a volume is in step, if it is so for the first time.
func (v *volume) seeded() {
	now := v.d.Now().UTC()
	v.set(func(st *VolumeStatus) {
		if st.Seeding == nil || st.Seeding.Done != nil {
			return
		}
		s := *st.Seeding // others may read the old one
		s.Done, s.Files, s.Bytes = &now, v.total.FilesUp+v.total.FilesDown, v.total.BytesUp+v.total.BytesDown
		if took := now.Sub(s.Begun).Seconds(); took > 0 {
			s.Rate = float64(s.Bytes) / took
		}
		st.Seeding = &s
	})
}

func newNode() (id signet.NodeID) {
	rand.Read(id[:])
	return id
}

func (v *volume) wake() {
	select {
	case v.poke <- struct{}{}:
	default:
	}
}

// set changes the volume's status.
func (v *volume) set(f func(*VolumeStatus)) {
	v.mu.Lock()
	f(&v.status)
	v.mu.Unlock()
}

func (v *volume) setState(s State, reason, hint string) {
	changed := false
	v.set(func(st *VolumeStatus) {
		changed = st.State != s || st.Reason != reason
		st.State, st.Reason, st.Hint = s, reason, hint
	})
	if changed {
		v.d.mu.Lock()
		v.d.signal()
		v.d.mu.Unlock()
	}
}

func (v *volume) count(f func(*Counters)) {
	v.mu.Lock()
	before := v.total.BytesUp + v.total.BytesDown
	f(&v.counters)
	f(&v.total)
	if n := v.total.BytesUp + v.total.BytesDown - before; n > 0 {
		v.pace.add(n, v.d.Now())
	}
	v.mu.Unlock()
}

// A pace is how many bytes a second were moved lately.
type pace struct {
	began, at time.Time
	sum       float64 // of bytes, each counting less the longer ago it was
}

// lately is after how long a byte counts for a third.
const lately = 10 * time.Second

func (p *pace) add(n int64, now time.Time) {
	if now.Sub(p.at) > 6*lately {
		*p = pace{began: now}
	}
	p.sum = p.sum*math.Exp(-float64(now.Sub(p.at))/float64(lately)) + float64(n)
	p.at = now
}

// rate is in bytes per second; 0 where nothing moves, or it is too early to say.
func (p *pace) rate(now time.Time) float64 {
	age := now.Sub(p.began)
	if p.sum == 0 || age < time.Second {
		return 0
	}
	weight := lately.Seconds() * (1 - math.Exp(-float64(age)/float64(lately)))
	return p.sum * math.Exp(-float64(now.Sub(p.at))/float64(lately)) / weight
}

// open opens the folder, unless it is open, and checks that it is the one that
// was added. Where it is not, nothing may be concluded from it.
func (v *volume) open() error {
	if v.disk != nil {
		err := v.disk.Check()
		if err == nil {
			return nil
		}
		v.closeDisk()
		v.hints, v.scan = nil, true
	}
	v.silence.ask()
	disk, err := v.d.OpenVolume(v.dir)
	v.silence.answer()
	if err != nil {
		return err
	}
	disk = heard{disk, &v.silence}
	if id, region := disk.Identity(); id != v.id || region != v.region.ID().String() {
		disk.Close()
		return fmt.Errorf("%s: %w", v.dir, ErrOtherVolume)
	}
	v.setDisk(disk)
	if err := v.compareChoice(); err != nil {
		v.closeDisk()
		return err
	}
	v.caps, v.last = disk.Caps(), nil // what was planned for other names is no help
	v.scan = true
	return v.loadNoted()
}

func (v *volume) setDisk(disk Volume) {
	v.diskMu.Lock()
	v.disk = disk
	v.diskMu.Unlock()
}

// closeDisk closes the folder, and ends first what works at it.
func (v *volume) closeDisk() {
	if v.disk == nil {
		return
	}
	v.stopBeside()
	v.displaced = nil // of that opening; those that are noted are looked at by the next
	disk := v.disk
	v.setDisk(nil)
	disk.Close()
}

// stopBeside ends all that travels beside the loop.
func (v *volume) stopBeside() {
	v.sketches.stop()
	v.beside.stop()
}

// ErrOtherVolume says that a folder's marker names another volume.
var ErrOtherVolume = errors.New("the folder belongs to another volume")

// plan compares disk, base and journal. Deletions that the guard holds back
// are planned as held.
func (v *volume) plan() (*plan.Plan, error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	v.acknowledgeLocked()
	v.floor = v.region.State.Floor()
	in := plan.Input{Base: v.index.base, Local: locals(v.index.items), Remote: v.region.Tree,
		Complete: func(n signet.NodeID) bool { _, blind := v.index.blind[n]; return !blind },
		Position: v.region.Replayed(), Device: v.d.Self.Device, Caps: v.caps, Last: v.last, Touched: v.index.fresh, Files: v.index.files}
	if in.Kept, in.Away = v.index.kept, v.index.away; !v.rules.Empty() {
		in.Ignored = v.ignored()
		if v.index.shifted {
			in.Last = nil
		}
	}
	v.index.shifted = false
	var other bool
	var err error
	if in.Marks, other, err = v.chosen(); err != nil {
		return nil, err
	}
	if other {
		in.Last = nil
	}
	if v.lastTree != v.region.Tree { // replayed anew: nothing of the last plan holds
		in.Last, v.lastTree = nil, v.region.Tree
	}
	if in.Position > 0 {
		in.Position--
	}
	p := plan.Make(in)
	defer func() {
		v.last = p.Next
		clear(v.index.fresh)
	}()
	// What both sides deleted since the last plan is still in base, and counts
	// as deleted lately already.
	for _, n := range p.Forget {
		if v.index.base.of(n).Type != tree.Dir {
			p.Guard.Total--
		}
	}
	if !v.region.MayWrite() {
		p.Guard.Up = 0 // a reader's deletions go nowhere, and wait for no answer
	}
	if in.HoldUp, in.HoldDown, err = v.weigh(p.Guard); err == nil && (in.HoldUp || in.HoldDown) {
		p = plan.Make(in)
	}
	v.stray(p)
	return p, err
}

// acknowledge takes in what became of this device's own entries: what they
// said is agreed from here on.
func (v *volume) acknowledge() {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	v.acknowledgeLocked()
}

func (v *volume) acknowledgeLocked() {
	r := v.region
	for _, own := range r.own {
		for i, it := range own.ops {
			old := v.index.base.of(it.Op.Node)
			local, _ := locals(v.index.items).Get(it.Op.Node)
			if b, ok := plan.Acknowledge(old, local, it.Op, own.outcomes[i]); ok {
				v.index.agree(it.Op.Node, b)
			}
		}
	}
	for _, n := range r.revived {
		if b, ok := v.index.base.Get(n); ok && v.index.items[n] == nil {
			v.index.agree(n, plan.Revived(b))
		}
	}
	v.d.takenIn(r)
	r.own, r.revived, r.seen = nil, nil, max(r.seen, r.Replayed())
}

func (v *volume) deleted(n int) {
	v.count(func(c *Counters) { c.Deletes += int64(n) })
}

// failure is the alarm that stopped the directory, or this volume's region.
// With the device's lock held.
func (v *volume) failure() error {
	if v.d.failed != nil {
		return v.d.failed
	}
	return v.region.failed
}

// A blocked node is one whose content cannot be had: it waits, the others go
// on.
type blocked struct {
	err   error
	path  string
	until time.Time
}

// block notes that a node's content cannot be had for now.
func (v *volume) block(n signet.NodeID, path string, err error) {
	if v.blocked == nil {
		v.blocked = map[signet.NodeID]blocked{}
	}
	v.blocked[n] = blocked{err, path, v.d.Now().Add(settleMost)}
}

// unblock forgets what blocked nodes that nothing is wanted of any more.
func (v *volume) unblock(p *plan.Plan) {
	if len(v.blocked) == 0 {
		return
	}
	wanted := map[signet.NodeID]bool{}
	for _, a := range p.Down {
		wanted[a.Node] = true
	}
	maps.DeleteFunc(v.blocked, func(n signet.NodeID, _ blocked) bool { return !wanted[n] })
}

// forgiveEvery is how often a person's questions make what waits be tried again:
// who asks every second does so once, and then sees that nothing comes of it.
const forgiveEvery = 15 * time.Second

// forgive tries at once what was to wait: a person asks, and may have mended
// what was in the way.
func (v *volume) forgive() {
	now := v.d.Now()
	if now.Sub(v.forgiven) < forgiveEvery {
		return
	}
	v.forgiven = now
	clear(v.blocked)
	for _, it := range v.index.faulty {
		if it.busy().After(now) {
			it.blame(it.fault(), now)
		}
	}
}

// blockedBy is an alarm among the reasons why nodes are blocked.
func (v *volume) blockedBy() error {
	for _, b := range v.blocked {
		if errors.Is(b.err, signet.ErrNotVerified) {
			return b.err
		}
	}
	return nil
}

// settle carries out what a plan found out without doing anything: bindings
// and bases.
func (v *volume) settle(ctx context.Context, p *plan.Plan) error {
	for _, r := range p.Rebind {
		v.index.rebind(r.From, r.To)
	}
	for _, n := range p.Forget {
		v.index.forget(n)
	}
	if len(p.Agree) > 0 {
		// What a plan finds equal may have come there a moment ago, by a program that
		// was killed before it synced. If the power went now, and the disk had what
		// was before, a base that says otherwise would make it somebody's change.
		if err := v.disk.Sync(ctx); err != nil {
			return err
		}
	}
	for n, b := range p.Agree {
		v.index.agree(n, b)
	}
	if err := v.choose(p.Chosen); err != nil {
		return err
	}
	v.d.mu.Lock()
	seen := v.region.seen
	v.d.mu.Unlock()
	if seen != v.stored {
		v.stored = seen
		v.index.seen = &seen
	}
	return v.d.Store.flush(v.id, v.index)
}

func (v *volume) lookAtName(parent signet.NodeID, name string) {
	if p, ok := v.index.path(parent); ok {
		v.want(p, name)
	}
}

// slice is how long one turn may hash or transfer before it looks around, at
// least: who looks around in a million files has more to do between.
const slice = 5 * time.Second

// slice is slice, and so long that looking around is a small part of the turn.
func (v *volume) slice() time.Duration { return max(slice, 4*v.looking) }

// turn goes round once: observe, hash, plan, commit, apply. more says that
// another turn has something to do now; again, when one has at the latest.
func (v *volume) turn(ctx context.Context) (more bool, again time.Time, err error) {
	v.d.mu.Lock()
	if err = v.failure(); err == nil {
		err = v.regression()
	}
	v.d.mu.Unlock()
	if err != nil {
		v.stopBeside()
		return false, time.Time{}, err
	}
	if err := v.open(); err != nil {
		return false, v.d.Now().Add(5 * time.Second), err
	}
	if v.verifying() {
		v.setState(Verifying, "", "")
		return false, time.Time{}, nil // the region pokes when it is replayed
	}
	clear(v.moving.held) // what still waits, this turn says
	v.beside.look()
	v.bringBack()
	rescue, err := v.rescue()
	if err != nil {
		return false, v.d.Now().Add(5 * time.Second), err
	}
	if err := v.forgetDoomed(); err != nil {
		return false, v.d.Now().Add(5 * time.Second), err
	}
	// What became of our own entries comes before what the disk shows now: they
	// were written of what it showed before.
	v.acknowledge()
	unruled, err := v.readRules(ctx)
	if err != nil {
		return false, v.d.Now().Add(5 * time.Second), err
	}
	if err := v.observe(ctx); err != nil {
		return false, v.d.Now().Add(5 * time.Second), err
	}
	v.noteSaved()
	v.rehash()
	retry := v.retry()
	if len(v.index.unread) >= manyFiles { // for the time that it takes to read them
		v.setState(Scanning, "", "")
	}
	again, err = v.hash(ctx, v.d.Now().Add(v.slice()))
	if err != nil {
		return false, again, err
	}
	looks := v.d.Now()
	v.answerSurveys() // before what may take long
	for _, t := range []time.Time{v.racy, rescue, retry, unruled} {
		if !t.IsZero() {
			again = earliest(again, t)
		}
	}
	p, err := v.plan()
	if err != nil {
		return false, again, err
	}
	if err := v.settle(ctx, p); err != nil {
		return false, again, err
	}
	if v.joining {
		return v.joined(), again, nil
	}
	v.unblock(p)
	v.prune(p)
	v.sketchBeside()
	if !slices.ContainsFunc(p.Down, func(a plan.Action) bool { return a.Verb == plan.Release }) {
		v.inUse = nil
	}
	v.describe(p)
	if n, err := v.reseal(ctx); err != nil || n > 0 {
		return n > 0, again, err
	}
	if p.Empty() {
		v.stuck, v.dying, v.returning = 0, dying{}, dying{}
		return len(v.look) > 0, again, nil
	}
	if did, err := v.rulesFirst(ctx, p); did || err != nil {
		return true, again, err
	}
	mine := v.mayNot(p)
	if mine == nil || len(p.Down) > 0 {
		v.setState(Syncing, "", "")
	}
	v.looking = v.d.Now().Sub(looks)
	var waiting time.Time
	sent := 0
	if mine == nil {
		var over *QuotaError
		if sent, waiting, over, err = v.send(ctx, p); err != nil {
			return false, again, err
		}
		if over != nil {
			mine = over
		}
	}
	if due := v.hesitateDown(p); !due.IsZero() {
		waiting = earliest(waiting, due)
	}
	if !waiting.IsZero() {
		again = earliest(again, waiting)
	}
	did, err := v.down(ctx, p.Down)
	v.ruled.again = v.ruled.again || did > 0 // they may be among it
	if ferr := v.d.Store.flush(v.id, v.index); err == nil {
		err = ferr
	}
	if err != nil {
		return false, again, err
	}
	if sent == 0 && did == 0 {
		if !waiting.IsZero() || v.beside.pending() {
			return len(v.look) > 0, again, nil
		}
		// Nothing of the plan could be done: whatever stands in its way is looked
		// at again, but not in a circle.
		v.describe(p)
		if v.stuck == 0 && len(v.look) > 0 {
			v.stuck = time.Millisecond
			return true, again, nil
		}
		if mine != nil {
			return false, again, mine
		}
		v.stuck = min(max(2*v.stuck, settleWait), settleMost)
		return false, earliest(again, v.d.Now().Add(v.stuck)), nil
	}
	v.stuck = 0
	return true, again, nil
}

// send carries out what a plan says about the region: so many operations.
// waiting is when deletions are due that may not be all, over what the service has
// no room for.
func (v *volume) send(ctx context.Context, p *plan.Plan) (sent int, waiting time.Time, over *QuotaError, err error) {
	waiting = v.hesitate(p)
	if due := v.keepLeaving(ctx, p); !due.IsZero() {
		waiting = earliest(waiting, due)
	}
	if over, err = v.makeFit(ctx, p); err != nil {
		return 0, waiting, nil, err
	}
	sent, more, err := v.upWithin(ctx, p.Up)
	if err == nil && more && sent == 0 {
		err = errAgain // with what is known now
	}
	if err != nil {
		return sent, waiting, nil, err
	}
	v.d.fed(v.region) // nothing waits any more
	v.acknowledge()
	if !v.heldUp {
		v.guarded(p.Guard.Up)
	}
	return sent, waiting, over, nil
}

// verifying reports whether the region is only known by its headers yet:
// nothing of it is planned or applied before its operations are replayed.
func (v *volume) verifying() bool {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	return v.region.lag
}

// describe brings the status up to date with a plan.
func (v *volume) describe(p *plan.Plan) {
	sum := v.index.sum
	for _, op := range p.Up {
		if it := v.index.items[op.Node]; it != nil && (op.Kind == tree.Create || op.Kind == tree.Edit) {
			sum.known -= it.tally().known
			sum.knownBytes -= it.tally().knownBytes
		}
	}
	var problems []Problem
	for id, it := range v.index.faulty {
		pr := Problem{Kind: "not_synched", Message: "is neither file, folder nor link, or lies on another mount"}
		if f := it.fault(); f != nil {
			pr = *f
		}
		if path, ok := v.index.path(id); ok && pr.Kind != unsettled {
			problems = append(problems, at(pr, path))
		}
	}
	for id, err := range v.index.blind {
		if path, ok := v.index.path(id); ok && err != errNotListed {
			problems = append(problems, at(Problem{Kind: "unreadable", Message: err.Error()}, path))
		}
	}
	problems = append(problems, v.aliases(p)...)
	problems = append(problems, v.ruleProblems()...)
	for _, b := range v.blocked {
		kind, hint := "unwritable", ""
		switch {
		case errors.Is(b.err, errOneName):
			kind, hint = "name_taken", "rename one of the two, on any device"
		case errors.Is(b.err, signet.ErrNotVerified):
			kind = "not_verified"
		case errors.Is(b.err, signet.ErrNotFound):
			kind = "missing_content"
		}
		problems = append(problems, at(Problem{Kind: kind, Message: b.err.Error(), Hint: hint}, b.path))
	}
	v.holds = map[signet.NodeID]bool{}
	for _, h := range p.Held {
		if h.Why == plan.Lingers {
			problems = append(problems, v.lingers(h.Node, "is not selected, and stays for what is in it and is not synched"))
		}
		if h.Why != plan.NameTaken && h.Why != plan.NoFolder && h.Why != plan.InIgnored && h.Why != plan.Unsynched {
			continue
		}
		v.holds[h.Node] = true
		v.d.mu.Lock()
		path := v.region.Tree.Path(h.Node)
		v.d.mu.Unlock()
		if path != "" {
			problems = append(problems, at(Problem{Kind: "held", Message: string(h.Why)}, path))
		}
	}
	for n := range v.inUse {
		problems = append(problems, v.lingers(n, "is not selected, and goes when the program has closed it that has it open"))
	}
	problems = tops(problems)
	v.d.mu.Lock()
	unselected := v.unselected()
	conflicts := v.region.Tree.Conflicts()
	name, gen := v.region.Name(), v.region.State.Current().Number
	v.d.mu.Unlock()
	v.set(func(s *VolumeStatus) {
		if s.Region != "" && conflicts > s.Conflicts && !v.fresh {
			v.counters.Conflicts += int64(conflicts - s.Conflicts)
			v.total.Conflicts += int64(conflicts - s.Conflicts)
		}
		v.fresh = false
		s.Region, s.Generation = name, gen
		s.Files, s.Bytes, s.SafeFiles, s.SafeBytes = sum.files, sum.bytes, sum.known, sum.knownBytes
		v.described = v.total.BytesUp
		s.Problems, s.Conflicts = problems, conflicts
		s.Unselected = unselected
		s.Ignored = 0
		for _, names := range v.index.kept {
			s.Ignored += len(names)
		}
	})
}

// tops sorts problems by path and leaves out what is held only because of
// what is said of its own name or of a folder above it.
func tops(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	said := map[string]bool{}
	return slices.DeleteFunc(problems, func(p Problem) bool {
		for up := p.Path; p.Kind == "held" && up != "."; up = path.Dir(up) {
			if said[up] {
				return true
			}
		}
		said[p.Path] = true
		return false
	})
}

func at(p Problem, path string) Problem {
	p.Path = strings.ToValidUTF8(path, "\uFFFD")
	if !utf8.ValidString(path) {
		p.PathB64 = []byte(path)
	}
	return p
}

// Status is the volume's status now.
func (v *volume) Status() VolumeStatus {
	starved := v.d.starved(v.region)
	v.d.mu.Lock()
	failed := v.failure()
	v.d.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.status
	s.Path, s.RegionID = v.dir, v.region.ID().String()
	s.Unwitnessed = true // witnesses come later
	s.Counters = v.total
	s.ETASeconds = 0
	left := s.Bytes - s.SafeBytes - (v.total.BytesUp - v.described) // what was sent since is not safe, but need not be sent again
	if rate := v.pace.rate(v.d.Now()); s.State == Syncing && left > 0 && rate > 0 {
		s.ETASeconds = int64(math.Ceil(float64(left) / rate))
	}
	s.Problems = slices.Clone(s.Problems)
	if s.Problems == nil {
		s.Problems = []Problem{}
	}
	paused, until := v.paused.on(v.d.Now())
	held := v.d.held.Load()
	reason, hint, silent := v.silence.is()
	switch {
	case failed != nil: // whatever it was when somebody last looked
		s.State, s.Reason, s.Hint = AlarmedAt, failed.Error(), hintOf(failed)
	case paused:
		s.State = Paused
		if !until.IsZero() {
			until = until.UTC()
			s.PausedUntil = &until
		}
	case held != nil:
		s.State, s.Reason, s.Hint = Paused, *held, "signet limit shows why"
	case silent:
		s.State, s.Reason, s.Hint = Stopped, reason, hint
	case starved != "" && s.State != AlarmedAt && s.State != ReadOnly:
		s.State, s.Reason, s.Hint = Starved, starved, "the service holds back this device's changes: ask whoever runs it"
	}
	return s
}

// saveCounters stores what status shows, for when no daemon runs. That it
// fails costs nothing but that.
func (v *volume) saveCounters() {
	v.mu.Lock()
	total, err := json.Marshal(v.total)
	status, err2 := json.Marshal(v.status)
	same := bytes.Equal(slices.Concat(total, status), v.saved)
	v.mu.Unlock()
	if err != nil || err2 != nil || same || v.gone() {
		return
	}
	err = v.d.Store.write(func(w *batch) {
		w.exec("UPDATE volumes SET counters = ? WHERE id = ?", total, v.id)
		w.exec("INSERT OR REPLACE INTO notes VALUES(?,?)", statusNote(v.id), status)
	})
	if err == nil {
		v.mu.Lock()
		v.saved = append(total, status...)
		v.mu.Unlock()
	}
}

func statusNote(volume string) string { return "status/" + volume }

func trashID(n signet.NodeID) string {
	return "n-" + base64.RawURLEncoding.EncodeToString(n[:])
}
