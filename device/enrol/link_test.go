package enrol

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"signet"
	"signet/core/wire"
)

// memory is a relay that keeps what it is given; change, if set, is what it
// does to a message when it hands it out.
type memory struct {
	mu      sync.Mutex
	slots   map[Slot][]byte
	waiting map[Slot][]chan struct{}
	change  func(slot Slot, message []byte) []byte
}

func newMemory() *memory {
	return &memory{slots: map[Slot][]byte{}, waiting: map[Slot][]chan struct{}{}}
}

func (m *memory) Put(_ context.Context, s Slot, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.slots[s]; ok {
		return signet.ErrConflict
	}
	m.slots[s] = bytes.Clone(b)
	for _, c := range m.waiting[s] {
		close(c)
	}
	m.waiting[s] = nil
	return nil
}

func (m *memory) Get(ctx context.Context, s Slot) ([]byte, error) {
	for {
		m.mu.Lock()
		if b, ok := m.slots[s]; ok {
			defer m.mu.Unlock()
			if m.change != nil {
				b = m.change(s, bytes.Clone(b))
			}
			return b, nil
		}
		c := make(chan struct{})
		m.waiting[s] = append(m.waiting[s], c)
		m.mu.Unlock()
		select {
		case <-c:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var intro = Introduction{Org: signet.OrgID{1}, Ring: signet.RingID{2}, LogKeys: signet.Hash{3}, Ringwise: []byte("ringwise")}

// outcome is what one end of a conversation saw.
type outcome struct {
	req     Request
	code    Code
	welcome []byte
	err     error
}

func give(ctx context.Context, r Relay, s Secret, yes bool) (o outcome) {
	g, err := Offer(ctx, r, s, intro)
	if err != nil {
		return outcome{err: err}
	}
	if o.req, o.err = g.Await(ctx); o.err != nil {
		return o
	}
	if !yes {
		o.err = g.Refuse(ctx)
		return o
	}
	if o.err = g.Confirmed(ctx); o.err != nil {
		return o
	}
	o.err = g.Welcome(ctx, []byte("heads"))
	return o
}

func come(ctx context.Context, r Relay, s Secret, record string, yes bool) (o outcome) {
	n, _, err := Meet(ctx, r, s)
	if err != nil {
		return outcome{err: err}
	}
	if o.code, o.err = n.Ask(ctx, "laptop", "linux", []byte(record), []byte("reverse")); o.err != nil {
		return o
	}
	if !yes {
		o.err = n.Refuse(ctx)
		return o
	}
	if o.err = n.Confirm(ctx); o.err != nil {
		return o
	}
	o.welcome, o.err = n.Welcomed(ctx)
	return o
}

// both runs the two ends; the first that fails ends the other's wait.
func both(t *testing.T, a, b func(context.Context) outcome) (outcome, outcome) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan outcome)
	go func() {
		o := a(ctx)
		if o.err != nil {
			cancel()
		}
		done <- o
	}()
	ob := b(ctx)
	if ob.err != nil {
		cancel()
	}
	return <-done, ob
}

func TestLinkingShowsTheSameCodeAndHandsOverTheWelcome(t *testing.T) {
	m, s := newMemory(), NewSecret()
	g, n := both(t,
		func(ctx context.Context) outcome { return give(ctx, m, s, true) },
		func(ctx context.Context) outcome { return come(ctx, m, s, "record", true) })
	if g.err != nil || n.err != nil {
		t.Fatal(g.err, n.err)
	}
	if g.req.Code != n.code || g.req.Name != "laptop" || g.req.Platform != "linux" ||
		string(g.req.Record) != "record" || string(g.req.Reverse) != "reverse" || string(n.welcome) != "heads" {
		t.Errorf("giver saw %+v, newcomer code %v and %q", g.req, n.code, n.welcome)
	}
	for _, b := range m.slots {
		if len(b)%padTo > 64 || bytes.Contains(b, []byte("laptop")) {
			t.Error("a message is not padded or not sealed")
		}
	}
}

func TestEitherSideCanRefuse(t *testing.T) {
	m, s := newMemory(), NewSecret()
	_, n := both(t,
		func(ctx context.Context) outcome { return give(ctx, m, s, false) },
		func(ctx context.Context) outcome { return come(ctx, m, s, "record", true) })
	if !errors.Is(n.err, ErrRefused) || !errors.Is(n.err, signet.ErrNotAllowed) {
		t.Errorf("newcomer after a refusal: %v", n.err)
	}
	m, s = newMemory(), NewSecret()
	g, _ := both(t,
		func(ctx context.Context) outcome { return give(ctx, m, s, true) },
		func(ctx context.Context) outcome { return come(ctx, m, s, "record", false) })
	if !errors.Is(g.err, ErrRefused) {
		t.Errorf("giver after a refusal: %v", g.err)
	}
}

func TestMeetWithWrongWordsFindsNobody(t *testing.T) {
	m := newMemory()
	if _, err := Offer(t.Context(), m, NewSecret(), intro); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	if _, _, err := Meet(ctx, m, NewSecret()); !errors.Is(err, ErrNobody) {
		t.Errorf("other words meet %v", err)
	}
}

func TestSecondNewcomerIsToldThatTheInvitationIsUsed(t *testing.T) {
	m, s := newMemory(), NewSecret()
	both(t,
		func(ctx context.Context) outcome { return give(ctx, m, s, true) },
		func(ctx context.Context) outcome { return come(ctx, m, s, "record", true) })
	if o := come(t.Context(), m, s, "other", true); !errors.Is(o.err, ErrUsed) {
		t.Errorf("second newcomer: %v", o.err)
	}
}

// TestRelayThatChangesAMessageIsNoticed has the service flip a bit of, cut, or
// put another step's message in place of each message in turn.
func TestRelayThatChangesAMessageIsNoticed(t *testing.T) {
	for step := byte(stepOffer); step <= stepWelcome; step++ {
		for name, change := range map[string]func(m *memory, c *channel, b []byte) []byte{
			"flip":  func(_ *memory, _ *channel, b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"cut":   func(_ *memory, _ *channel, b []byte) []byte { return b[:len(b)-1] },
			"empty": func(*memory, *channel, []byte) []byte { return nil },
			"replay": func(m *memory, c *channel, b []byte) []byte {
				if step == stepOffer {
					return b[1:]
				}
				return m.slots[c.slot(step-1)]
			},
		} {
			m, s := newMemory(), NewSecret()
			c := newChannel(s, m)
			m.change = func(slot Slot, b []byte) []byte {
				if slot == c.slot(step) {
					return change(m, &c, b)
				}
				return b
			}
			g, n := both(t,
				func(ctx context.Context) outcome { return give(ctx, m, s, true) },
				func(ctx context.Context) outcome { return come(ctx, m, s, "record", true) })
			if !errors.Is(g.err, signet.ErrNotVerified) && !errors.Is(n.err, signet.ErrNotVerified) {
				t.Errorf("%s of message %d: giver %v, newcomer %v", name, step, g.err, n.err)
			}
			if n.welcome != nil {
				t.Errorf("%s of message %d: the newcomer is welcomed", name, step)
			}
		}
	}
}

// TestMessagesOfAnotherConversationDoNotOpen replays a whole earlier
// conversation under the same secret to a new giver.
func TestMessagesOfAnotherConversationDoNotOpen(t *testing.T) {
	old, s := newMemory(), NewSecret()
	both(t,
		func(ctx context.Context) outcome { return give(ctx, old, s, true) },
		func(ctx context.Context) outcome { return come(ctx, old, s, "record", true) })
	m := newMemory()
	c := newChannel(s, m)
	for step := byte(stepOffer); step <= stepWelcome; step++ {
		if step%2 == 1 || step == stepConfirm { // the newcomer's
			m.slots[c.slot(step)] = old.slots[c.slot(step)]
		}
	}
	if o := give(t.Context(), m, s, true); !errors.Is(o.err, signet.ErrNotVerified) {
		t.Errorf("a replayed newcomer gives %v", o.err)
	}
}

// TestManInTheMiddleWithTheSecretCannotMatchTheCodes has somebody who read
// the invitation stand between the two, with keys of its own.
func TestManInTheMiddleWithTheSecretCannotMatchTheCodes(t *testing.T) {
	equal := 0
	for range 20 {
		left, right, s := newMemory(), newMemory(), NewSecret()
		done := make(chan outcome)
		go func() { done <- give(t.Context(), left, s, false) }()
		go func() { done <- give(t.Context(), right, s, false) }()
		mallory := come(t.Context(), left, s, "mallory's keys", true)
		honest := come(t.Context(), right, s, "record", true)
		<-done
		<-done
		if mallory.code == honest.code {
			equal++
		}
	}
	if equal > 0 { // chance: 20 in a million
		t.Errorf("codes were equal %d times", equal)
	}
}

// TestNewcomerThatChoosesAfterTheChallengeIsRefused tries, with the secret in
// hand, another key and only another name than it had committed to.
func TestNewcomerThatChoosesAfterTheChallengeIsRefused(t *testing.T) {
	for _, change := range []int{nonceSize + 3, -1} {
		m, s := newMemory(), NewSecret()
		cheat := func(ctx context.Context) (o outcome) {
			n, _, err := Meet(ctx, m, s)
			if err != nil {
				return outcome{err: err}
			}
			var w wire.Writer
			w.Raw(make([]byte, nonceSize))
			w.Vec16([]byte("record"))
			w.Vec16(nil)
			w.Vec8([]byte("name"))
			w.Vec8([]byte("linux"))
			commit := commitment(w.B)
			n.c.send(ctx, stepHello, commit[:])
			n.c.receive(ctx, stepChallenge)
			if change < 0 {
				change += len(w.B)
			}
			w.B[change] ^= 1
			n.c.send(ctx, stepReveal, w.B)
			return o
		}
		g, _ := both(t, func(ctx context.Context) outcome { return give(ctx, m, s, true) }, cheat)
		if !errors.Is(g.err, ErrChannel) {
			t.Errorf("byte %d changed after the challenge: %v", change, g.err)
		}
	}
}

func TestIntroductionThatDiffersFromTheLinkIsRefused(t *testing.T) {
	link := DeviceInvitation{Org: intro.Org, Ring: intro.Ring, LogKeys: intro.LogKeys}
	if err := intro.Matches(link); err != nil {
		t.Error(err)
	}
	for i, change := range []func(*DeviceInvitation){
		func(l *DeviceInvitation) { l.Org[0]++ },
		func(l *DeviceInvitation) { l.Ring[0]++ },
		func(l *DeviceInvitation) { l.LogKeys[0]++ },
		func(l *DeviceInvitation) { l.Certificate[0]++ },
	} {
		l := link
		change(&l)
		if err := intro.Matches(l); !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("change %d: %v", i, err)
		}
	}
}
