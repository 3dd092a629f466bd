package transport_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"signet"
	"signet/transport"
)

func benchmark(b *testing.B, conns int, plain bool) (*fixture, *transport.Client) {
	f := serve(b, transport.Limits{ConnRate: 1e6, DeviceRate: 1e6}, plain)
	c := f.config()
	c.Conns = conns
	return f, dial(b, c)
}

// BenchmarkTransfer moves 16 objects of 4 MiB a turn; the service in memory
// keeps nothing of a put and hashes nothing, so this is the road alone.
func BenchmarkTransfer(b *testing.B) {
	const n, size = 16, 4 << 20
	objects, ids := make([][]byte, n), make([]signet.ObjectID, n)
	for i := range objects {
		objects[i] = make([]byte, size)
		rand.Read(objects[i])
		ids[i] = sha256.Sum256(objects[i])
	}
	for _, plain := range []bool{false, true} {
		for _, conns := range []int{1, 4} {
			name := fmt.Sprintf("tls=%v/conns=%d", !plain, conns)
			b.Run("put/"+name, func(b *testing.B) {
				f, c := benchmark(b, conns, plain)
				f.Discard = true
				b.SetBytes(n * size)
				b.ReportAllocs()
				for b.Loop() {
					if err := c.Put(context.Background(), signet.RegionID{}, objects); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("get/"+name, func(b *testing.B) {
				_, c := benchmark(b, conns, plain)
				if err := c.Put(context.Background(), signet.RegionID{}, objects); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n * size)
				b.ReportAllocs()
				for b.Loop() {
					err := c.Get(context.Background(), signet.RegionID{}, ids, func(signet.ObjectID, []byte) error { return nil })
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkSmallObjects moves 1,000 objects of 16 KiB a turn, up and down.
func BenchmarkSmallObjects(b *testing.B) {
	const n, size = 1000, 16 << 10
	objects, ids := make([][]byte, n), make([]signet.ObjectID, n)
	for i := range objects {
		objects[i] = make([]byte, size)
		rand.Read(objects[i])
		ids[i] = sha256.Sum256(objects[i])
	}
	_, c := benchmark(b, 4, false)
	b.SetBytes(2 * n * size)
	for b.Loop() {
		if err := c.Put(context.Background(), signet.RegionID{}, objects); err != nil {
			b.Fatal(err)
		}
		err := c.Get(context.Background(), signet.RegionID{}, ids, func(signet.ObjectID, []byte) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend is the round trip of a record of 2 KiB.
func BenchmarkAppend(b *testing.B) {
	f, c := benchmark(b, 4, false)
	r := record(700)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Append(context.Background(), signet.Directory(f.Org), r, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnect is a connection from nothing: TCP, TLS, proof, one request.
func BenchmarkConnect(b *testing.B) {
	f, _ := benchmark(b, 1, false)
	for b.Loop() {
		c := dial(b, f.config())
		if _, err := c.Read(context.Background(), signet.Directory(f.Org), 0, signet.LeafOnly); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// BenchmarkNotice is the time from an append on one connection until the page
// is there on a waiting stream.
func BenchmarkNotice(b *testing.B) {
	f, c := benchmark(b, 4, false)
	dir := signet.Directory(f.Org)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pages := make(chan bool)
	go c.Wait(ctx, nil, func(p signet.Page) error {
		select {
		case pages <- true:
		case <-ctx.Done():
		}
		return nil
	}, nil)
	<-pages
	for b.Loop() {
		if _, err := c.Append(ctx, dir, record(100), time.Now().UnixMilli()); err != nil {
			b.Fatal(err)
		}
		<-pages
	}
}
