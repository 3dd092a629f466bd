package journal

import (
	"fmt"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/core/ring"
)

// verify applies the rules of spec/journal.md, "valid". reason says that the
// entry is not; err that it cannot be judged. hash is that of head.
func (s *State) verify(head []byte, hash signet.Hash, blob []byte, now int64) (e *Entry, effect func(), reason, err error) {
	if s.dir.LogKey() == nil {
		return nil, nil, nil, ErrNeedDirectory // not even the root: nothing can be said of any entry
	}
	i, err := parseHashed(head, hash)
	if err != nil {
		return nil, nil, err, nil
	}
	var at standing
	for _, rule := range []func(*item, *standing) (reason, err error){s.whose, s.saw, s.place, s.may} {
		reason, err := rule(i, &at)
		if reason != nil || err != nil {
			return nil, nil, reason, err
		}
	}
	// The parts come last: a content entry is judged without them.
	if err := i.parts(blob); err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %s entry %d: %w", s.region, i.Type, s.Size(), err)
	}
	if i.Type.Authority() && i.fault != nil {
		return nil, nil, i.no(signet.ErrNotVerified, "%v", i.fault), nil
	}
	e = &Entry{Header: i.Header, Hash: i.hash, Position: s.Size(), Time: now, Seen: at.seen, Dir: at.dir, Whole: i.hasBlob && !i.dropped, Dropped: i.dropped,
		Sealed: i.sealed, Objects: i.objects, BackDated: s.dir.GoneBy(i.Device, now), Void: i.fault}
	switch i.Type {
	case Genesis:
		effect, reason = s.genesis(i, e, at.dirAt)
	case Rekey:
		effect, reason = s.rekey(i, e)
	case Grant:
		effect, reason, err = s.grant(i, e)
	case Marker:
		effect = func() { s.follow(i, at.dir) }
	case Condemn, Spare, Collect:
		effect, reason = s.ending(i, e)
	case Limiting:
		effect, reason = s.limit(i, e)
	case Complaint:
		effect, reason = s.complaint(i, e)
	case Envelope:
		effect, reason = s.envelope(i, e)
	default:
		effect = func() {
			s.last[i.Device] = own{hash: i.hash, seen: at.seenSize, dir: at.dir.Size, authority: at.authority}
			s.dirAll = max(s.dirAll, at.dir.Size)
		}
	}
	if reason != nil || err != nil {
		return nil, nil, reason, err
	}
	return e, effect, nil, nil
}

// standing is what is learnt of an entry while it is judged.
type standing struct {
	dir, seen *chain.Checkpoint // seen is nil in Genesis
	seenSize  uint64
	dirAt     uint64 // the directory head that its authority is judged at
	authority int    // content: index in the sub-chain of the authority entry it names
}

// no is the reason why an entry is not valid.
func (i *item) no(kind error, format string, args ...any) error {
	return fmt.Errorf("%s entry: %s: %w", i.Type, fmt.Sprintf(format, args...), kind)
}

// whose checks that the entry is of this region, by a device whose ring has a
// role here and that signed it.
func (s *State) whose(i *item, _ *standing) (reason, err error) {
	switch {
	case i.Org != s.dir.Org():
		return i.no(signet.ErrNotVerified, "of another organisation"), nil
	case i.Type == Genesis && (s.Size() != 0 || signet.RegionID(i.hash) != s.region):
		return i.no(signet.ErrConflict, "the region exists"), nil
	case i.Type != Genesis && (i.Region != s.region || s.founding == nil):
		return i.no(signet.ErrNotVerified, "of another region"), nil
	case i.Type != Genesis && s.roles[i.Ring] < i.Type.role():
		return i.no(signet.ErrNotAllowed, "writer's ring may not write this here"), nil
	}
	if err := s.withheld(i); err != nil {
		return nil, err
	}
	// The key is that of the directory at hand, which may be newer than the
	// head the entry names: a device's key never changes.
	dev := s.dir.Device(i.Device)
	if dev == nil && s.behind(i) {
		return nil, ErrNeedDirectory
	}
	if dev == nil {
		return i.no(signet.ErrNotAllowed, "writer is unknown"), nil
	}
	if err := dev.Sign.Verify(i.label(), i.header, i.sig); err != nil {
		return i.no(signet.ErrNotVerified, "signature of its writer does not verify"), nil
	}
	return nil, nil
}

// saw checks the heads that the entry names: signed by the service's log
// key, of these logs, and true. A head that the service signed and that is not
// of this log is evidence against the service; anything else the writer
// invented.
func (s *State) saw(i *item, at *standing) (reason, err error) {
	var bad error
	if at.dir, bad = s.head(i.dir, i.Directory, signet.Directory(s.dir.Org())); bad != nil {
		return i.no(signet.ErrNotVerified, "directory head: %v", bad), nil
	}
	if at.dir.Size > s.dir.Size() {
		return nil, ErrNeedDirectory
	}
	if err := s.true(at.dir, s.dir.Tree); err != nil {
		return nil, err
	}
	if i.Type == Genesis {
		if len(i.seen) != 0 {
			return i.no(signet.ErrNotVerified, "observed a head before the first entry"), nil
		}
		return nil, nil
	}
	if at.seen, bad = s.head(i.seen, i.Observed, signet.Journal(s.region)); bad != nil {
		return i.no(signet.ErrNotVerified, "observed head: %v", bad), nil
	}
	if at.seenSize = at.seen.Size; at.seenSize > s.Size() {
		return i.no(signet.ErrNotVerified, "observed a head of size %d before it was", at.seenSize), nil
	}
	if err := s.true(at.seen, &s.Tree); err != nil {
		return nil, err
	}
	return s.beforeFloor(i, at.seenSize), nil
}

// place checks the entry's place among its writer's entries, or in the
// authority sub-chain.
func (s *State) place(i *item, at *standing) (reason, err error) {
	if i.Type.Authority() {
		at.dirAt = max(s.dirSub, at.dir.Size)
		if i.Authority != s.latest {
			return i.no(signet.ErrConflict, "does not follow the latest authority entry"), nil
		}
		return nil, nil
	}
	at.dirAt = max(s.dirAll, at.dir.Size)
	prev := s.last[i.Device]
	n, ok := s.sub[i.Authority]
	switch {
	case i.Own != prev.hash:
		return i.no(signet.ErrConflict, "does not follow its writer's last entry"), nil
	case !ok || n < prev.authority:
		return i.no(signet.ErrNotVerified, "names no authority entry that its writer could name"), nil
	case at.dir.Size < prev.dir || at.seenSize < prev.seen:
		return i.no(signet.ErrNotVerified, "its heads are behind those of its writer's last entry"), nil
	}
	at.authority = n
	return nil, nil
}

// may checks that the writer was active, and wrote under the current and fresh
// generation.
func (s *State) may(i *item, at *standing) (reason, err error) {
	switch {
	case !s.dir.ActiveAt(i.Ring, i.Device, at.dirAt):
		return i.no(signet.ErrNotAllowed, "writer is not an active device of its ring"), nil
	case i.Type == Genesis || i.Type == Rekey: // these make one
	case i.Generation != s.Current().Number:
		return i.no(signet.ErrStale, "generation %d is not the current one", i.Generation), nil
	case (!i.Type.Authority() || i.Type == Envelope) && s.StaleAt(at.dirAt):
		return i.no(signet.ErrStale, "generation %d", i.Generation), nil
	}
	return nil, nil
}

// parts attaches the blob; only a content entry can do without.
func (i *item) parts(blob []byte) error {
	if len(blob) > 0 {
		return i.attach(blob)
	}
	if i.Type.Authority() {
		return fmt.Errorf("came without its body: %w", signet.ErrNotVerified)
	}
	return nil
}

// follow appends an authority entry to the sub-chain.
func (s *State) follow(i *item, dir *chain.Checkpoint) {
	s.sub[i.hash] = len(s.sub)
	s.latest = i.hash
	s.dirSub = max(s.dirSub, dir.Size)
	s.dirAll = max(s.dirAll, dir.Size)
}

func (s *State) genesis(i *item, e *Entry, dirAt uint64) (effect func(), reason error) {
	f, err := parseFounding(i.body)
	if err != nil {
		return nil, malformed(err)
	}
	if i.Generation != 1 || !sameRecipients(f.Envelopes, recipientsOf(s.dir.State, i.Ring, dirAt)) {
		return nil, i.no(signet.ErrNotAllowed, "the key is not sealed to its ring and nobody else")
	}
	return func() {
		s.founding, s.owner = f, i.Ring
		s.roles[i.Ring] = Manager
		s.gens = []Generation{generation(i, e, 1, f.Public, nil, f.Envelopes)}
		s.follow(i, e.Dir)
	}, nil
}

// rekey: the recipients are judged at the directory head that the rekey names,
// so that its writer can know them. One with a wrong set keeps its place in the
// sub-chain, and the old generation stays current.
func (s *State) rekey(i *item, e *Entry) (effect func(), reason error) {
	k, err := parseNewKey(i.body)
	if err != nil {
		return nil, malformed(err)
	}
	if k.Number != s.Current().Number+1 || i.Generation != k.Number || len(k.BackLink) == 0 {
		e.Void = i.no(signet.ErrConflict, "generation %d does not follow %d", k.Number, s.Current().Number)
	} else if !sameRecipients(k.Envelopes, s.Recipients(e.Dir.Size)) {
		e.Void = i.no(signet.ErrNotAllowed, "the key is not sealed to those who may read and nobody else")
	}
	e.envelopes = k.Envelopes
	return func() {
		if e.Void == nil {
			s.gens = append(s.gens, generation(i, e, k.Number, k.Public, k.BackLink, k.Envelopes))
			clear(s.complaints)
		}
		s.follow(i, e.Dir)
	}, nil
}

func generation(i *item, e *Entry, n signet.Generation, pub key.Encryption, back []byte, list []ring.Envelope) Generation {
	for j := range list {
		list[j].Giver = i.Device
	}
	return Generation{Number: n, Public: pub, BackLink: back, Position: e.Position, Giver: i.Device, Envelopes: list, First: len(list)}
}

// behind reports whether an entry names a directory head that is signed by the
// service and larger than the directory at hand.
func (s *State) behind(i *item) bool {
	dir, err := s.head(i.dir, i.Directory, signet.Directory(s.dir.Org()))
	return err == nil && dir.Size > s.dir.Size()
}

// head opens a checkpoint that travels beside an entry.
func (s *State) head(raw []byte, hash signet.Hash, log signet.LogID) (*chain.Checkpoint, error) {
	if c := s.heads[hash]; c != nil && c.Log == log && string(c.Bytes()) == string(raw) {
		return c, nil
	}
	c, err := chain.Open(raw, log, s.dir.LogKey())
	if err != nil {
		return nil, err
	}
	if c.Hash() != hash {
		return nil, fmt.Errorf("not the one that the header names")
	}
	// Writers observe recent heads: a few are enough to verify each once.
	if len(s.heads) >= 64 {
		clear(s.heads)
	}
	s.heads[hash] = c
	return c, nil
}

// true checks a checkpoint that the service signed against the leaves at hand.
func (s *State) true(c *chain.Checkpoint, t *chain.Tree) error {
	root, err := t.RootAt(c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return &Contradicted{Shown: c, Have: root}
	}
	return nil
}

// Contradicted is the error for a checkpoint that a writer had been shown, the
// service signed, and the leaves at hand contradict. With a checkpoint of one's
// own over those leaves, chain.NewFork makes evidence of it.
type Contradicted struct {
	Shown *chain.Checkpoint
	Have  signet.Hash // root of the leaves at hand at that size
}

func (c *Contradicted) Error() string {
	return fmt.Sprintf("the service showed another device another history of %s at size %d", c.Shown.Log, c.Shown.Size)
}

// Unwrap makes it a signet.ErrNotVerified.
func (c *Contradicted) Unwrap() error { return signet.ErrNotVerified }
