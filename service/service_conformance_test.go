package service

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"

	"signet"
	"signet/core/ring"
	"signet/transport"
	"signet/transport/conformance"
)

// subject makes what the conformance suite runs on; wrap turns a device into
// the session that is tested.
func subject(t *testing.T, wrap func(*testing.T, *device) transport.Session) conformance.Subject {
	b := newBench(t)
	d := b.found()
	w := d.newRegion(1)
	second := d.add()
	claim := byte(1)
	return conformance.Subject{
		Session: wrap(t, d), Second: wrap(t, second), Device: d.id(), Log: w.log(), Region: w.region,
		Next: func(t *testing.T) (signet.Record, int64) { return w.entry(), b.millis() },
		NewLog: func(t *testing.T) signet.LogID {
			claim++
			return d.newRegion(claim).log()
		},
		Sealed: func(t *testing.T) ([32]byte, []byte) {
			r := &ring.Record{Org: b.org(), Ring: d.ring, Subject: d.id(), Version: 1, Generation: 1, Sealed: []byte("name"), Signer: d.id()}
			raw, err := r.Sign(d.key)
			must(t, err)
			return d.ring, raw
		},
		Receipt: func(t *testing.T, r signet.Record, c signet.Receipt) { b.checkReceipt(w.log(), c) },
	}
}

func TestServiceConforms(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Subject {
		return subject(t, func(t *testing.T, d *device) transport.Session { return d.session })
	})
}

// serve puts the service behind HTTP and TLS.
func (b *bench) serve(t *testing.T) (url string, pin []byte) {
	t.Helper()
	cert, fingerprint, err := transport.SelfSigned(t.TempDir(), []string{"127.0.0.1"})
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	h := transport.NewHandler(b.Service, transport.Limits{}, slog.New(slog.NewJSONHandler(io.Discard, nil)))
	go func() {
		done <- transport.Serve(ctx, ln, &tls.Config{Certificates: []tls.Certificate{cert}}, h)
	}()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return "https://" + ln.Addr().String(), fingerprint[:]
}

func TestServiceConformsOverTLS(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Subject {
		var url string
		var pin []byte
		return subject(t, func(t *testing.T, d *device) transport.Session {
			if url == "" {
				url, pin = d.b.serve(t)
			}
			c, err := transport.NewClient(transport.Config{URL: url, Pin: pin, Org: d.b.org(), Device: d.id(), Signer: d.key})
			must(t, err)
			t.Cleanup(c.Close)
			return c
		})
	})
}
