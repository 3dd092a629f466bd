package attack

import (
	"context"
	"fmt"
	"sync"

	"signet"
	"signet/service"
	"signet/transport"
)

// lies are what a liar does to the answers of the service. Each is optional.
type lies struct {
	info    func(i *transport.Info)
	page    func(to signet.DeviceID, p *signet.Page) // of Read and of Wait
	append  func(ctx context.Context, by signet.DeviceID, log signet.LogID, r signet.Record, honest func() (signet.Receipt, error)) (signet.Receipt, error)
	object  func(id signet.ObjectID, b []byte) []byte
	have    func(missing []signet.ObjectID) []signet.ObjectID
	records func(list [][]byte) [][]byte
	relay   func(slot uint8, message []byte) []byte
	connect func(d signet.DeviceID) error
	reoffer func(r signet.Reoffer) (size uint64, whole bool, err error)
}

// A liar stands in front of a service. It may show each device another
// service, and answer for a log itself.
type liar struct {
	mu     sync.Mutex
	lies   lies
	all    transport.Backend                     // nil: nobody is there
	some   map[signet.DeviceID]transport.Backend // what these see instead
	forged map[signet.LogID]*forged
	moved  chan struct{} // closed when services were exchanged
}

func newLiar(b transport.Backend) *liar {
	return &liar{all: b, some: map[signet.DeviceID]transport.Backend{}, forged: map[signet.LogID]*forged{}, moved: make(chan struct{})}
}

// lie begins to lie; the zero lies end it.
func (l *liar) lie(x lies) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lies = x
}

func (l *liar) now() lies {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lies
}

// serve puts a service behind the liar, for all devices.
func (l *liar) serve(b *service.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = nil
	if b != nil {
		l.all = b
	}
	close(l.moved)
	l.moved = make(chan struct{})
}

// show lets one device see another service.
func (l *liar) show(d signet.DeviceID, b transport.Backend) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.some[d] = b
	close(l.moved)
	l.moved = make(chan struct{})
}

// forge makes the liar answer for a log with a history of its own.
func (l *liar) forge(f *forged) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forged[f.log] = f
}

func (l *liar) forgedLog(log signet.LogID) *forged {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forged[log]
}

func (l *liar) of(d signet.DeviceID) (transport.Backend, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.some[d]
	if b == nil {
		b = l.all
	}
	if b == nil {
		return nil, nil, fmt.Errorf("nobody is here: %w", signet.ErrUnavailable)
	}
	return b, l.moved, nil
}

func (l *liar) Info(ctx context.Context) (transport.Info, error) {
	b, _, err := l.of(signet.DeviceID{})
	if err != nil {
		return transport.Info{}, err
	}
	i, err := b.Info(ctx)
	if f := l.now().info; f != nil {
		f(&i)
	}
	return i, err
}

func (l *liar) Connect(ctx context.Context, d signet.DeviceID, binding, signature []byte) (transport.Session, error) {
	if f := l.now().connect; f != nil {
		if err := f(d); err != nil {
			return nil, err
		}
	}
	b, _, err := l.of(d)
	if err != nil {
		return nil, err
	}
	first, err := b.Connect(ctx, d, binding, signature)
	if err != nil {
		return nil, err
	}
	return &session{liar: l, device: d, binding: binding, signature: signature, with: map[transport.Backend]transport.Session{b: first}}, nil
}

func (l *liar) Enrol(ctx context.Context, r signet.Record, sent int64) (signet.Receipt, error) {
	b, _, err := l.of(signet.DeviceID{})
	if err != nil {
		return signet.Receipt{}, err
	}
	return b.Enrol(ctx, r, sent)
}

func (l *liar) RelayPut(ctx context.Context, place [32]byte, slot uint8, message []byte) error {
	b, _, err := l.of(signet.DeviceID{})
	if err != nil {
		return err
	}
	return b.RelayPut(ctx, place, slot, message)
}

func (l *liar) RelayGet(ctx context.Context, place [32]byte, slot uint8) ([]byte, error) {
	b, _, err := l.of(signet.DeviceID{})
	if err != nil {
		return nil, err
	}
	m, err := b.RelayGet(ctx, place, slot)
	if f := l.now().relay; f != nil && err == nil {
		m = f(slot, append([]byte(nil), m...))
	}
	return m, err
}

// session is a device's connection to whichever service it is shown now.
type session struct {
	liar               *liar
	device             signet.DeviceID
	binding, signature []byte

	mu   sync.Mutex
	with map[transport.Backend]transport.Session
}

func (x *session) inner(ctx context.Context) (transport.Session, <-chan struct{}, error) {
	b, moved, err := x.liar.of(x.device)
	if err != nil {
		return nil, nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.with[b]; s != nil {
		return s, moved, nil
	}
	s, err := b.Connect(ctx, x.device, x.binding, x.signature)
	if err == nil {
		x.with[b] = s
	}
	return s, moved, err
}

func (x *session) Append(ctx context.Context, log signet.LogID, r signet.Record, sent int64) (signet.Receipt, error) {
	honest := func() (signet.Receipt, error) {
		if f := x.liar.forgedLog(log); f != nil {
			return f.take(r), nil
		}
		s, _, err := x.inner(ctx)
		if err != nil {
			return signet.Receipt{}, err
		}
		return s.Append(ctx, log, r, sent)
	}
	if f := x.liar.now().append; f != nil {
		return f(ctx, x.device, log, r, honest)
	}
	return honest()
}

func (x *session) Read(ctx context.Context, log signet.LogID, from uint64, parts signet.Parts) (signet.Page, error) {
	var p signet.Page
	if f := x.liar.forgedLog(log); f != nil {
		p = f.page(from)
	} else {
		s, _, err := x.inner(ctx)
		if err != nil {
			return p, err
		}
		if p, err = s.Read(ctx, log, from, parts); err != nil {
			return p, err
		}
	}
	return x.spoil(p), nil
}

// spoil gives a lie a copy of a page, which the honest service may keep.
func (x *session) spoil(p signet.Page) signet.Page {
	if f := x.liar.now().page; f != nil {
		p.Records = append([]signet.Record(nil), p.Records...)
		for i, r := range p.Records {
			p.Records[i] = clone(r)
		}
		f(x.device, &p)
	}
	return p
}

func (x *session) Wait(ctx context.Context, heads map[signet.LogID]uint64, each func(signet.Page) error, shown func(signet.Glimpse)) error {
	s, moved, err := x.inner(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	gone := false
	go func() {
		select {
		case <-moved:
			mu.Lock()
			gone = true
			mu.Unlock()
			cancel()
		case <-ctx.Done():
		}
	}()
	err = s.Wait(ctx, heads, func(p signet.Page) error {
		if f := x.liar.forgedLog(p.Log); f != nil {
			p = f.page(min(heads[p.Log], f.size()))
		}
		return each(x.spoil(p))
	}, shown)
	mu.Lock()
	defer mu.Unlock()
	if gone {
		return fmt.Errorf("the stream ends: %w", signet.ErrUnavailable)
	}
	return err
}

func (x *session) Have(ctx context.Context, region signet.RegionID, ids []signet.ObjectID) ([]signet.ObjectID, error) {
	s, _, err := x.inner(ctx)
	if err != nil {
		return nil, err
	}
	missing, err := s.Have(ctx, region, ids)
	if f := x.liar.now().have; f != nil {
		missing = f(missing)
	}
	return missing, err
}

func (x *session) Put(ctx context.Context, region signet.RegionID, objects [][]byte) error {
	s, _, err := x.inner(ctx)
	if err != nil {
		return err
	}
	return s.Put(ctx, region, objects)
}

func (x *session) Show(ctx context.Context, region signet.RegionID, sealed []byte) (bool, error) {
	s, _, err := x.inner(ctx)
	if err != nil {
		return false, err
	}
	return s.Show(ctx, region, sealed)
}

func (x *session) Get(ctx context.Context, region signet.RegionID, ids []signet.ObjectID, each func(signet.ObjectID, []byte) error) error {
	s, _, err := x.inner(ctx)
	if err != nil {
		return err
	}
	return s.Get(ctx, region, ids, func(id signet.ObjectID, b []byte) error {
		if f := x.liar.now().object; f != nil {
			b = f(id, append([]byte(nil), b...))
		}
		return each(id, b)
	})
}

func (x *session) Usage(ctx context.Context, region signet.RegionID) (signet.Usage, error) {
	s, _, err := x.inner(ctx)
	if err != nil {
		return signet.Usage{}, err
	}
	return s.Usage(ctx, region)
}

func (x *session) Recovering(ctx context.Context) ([]signet.LogID, error) {
	s, _, err := x.inner(ctx)
	if err != nil {
		return nil, err
	}
	return s.Recovering(ctx)
}

func (x *session) Reoffer(ctx context.Context, r signet.Reoffer) (uint64, bool, error) {
	if f := x.liar.now().reoffer; f != nil {
		return f(r)
	}
	s, _, err := x.inner(ctx)
	if err != nil {
		return 0, false, err
	}
	return s.Reoffer(ctx, r)
}

func (x *session) PutRecord(ctx context.Context, record []byte) error {
	s, _, err := x.inner(ctx)
	if err != nil {
		return err
	}
	return s.PutRecord(ctx, record)
}

func (x *session) Records(ctx context.Context, owner [32]byte) ([][]byte, error) {
	s, _, err := x.inner(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Records(ctx, owner)
	if f := x.liar.now().records; f != nil {
		list = f(list)
	}
	return list, err
}

func (x *session) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.with {
		s.Close()
	}
}
