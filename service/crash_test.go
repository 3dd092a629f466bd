package service

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/core/key"
	"signet/transport"
)

// TestMain serves a folder instead of testing where a test asks for a process
// that it can kill.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SIGNET_TEST_SERVE"); dir != "" {
		if err := serveForTest(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv("SIGNET_TEST_GC"); dir != "" {
		if err := dieInGC(dir, os.Getenv("SIGNET_TEST_STEP")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func serveForTest(dir string) error {
	k, err := key.FromSeed([32]byte{42})
	if err != nil {
		return err
	}
	s, err := Open(Config{Data: dir, Key: k})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if os.Getenv("SIGNET_TEST_EAGER") != "" {
		s.gc.eager, s.gc.moves = true, 7
		go func() {
			for {
				if _, err := s.gc.collect(context.Background(), budget{packs: 8}, nil); err != nil {
					fmt.Fprintln(os.Stderr, "gc:", err)
				}
			}
		}()
	}
	fmt.Println("http://" + ln.Addr().String())
	limits := transport.Limits{ConnRate: 1e6, DeviceRate: 1e6}
	return transport.Serve(context.Background(), ln, nil, transport.NewHandler(s, limits, slog.New(slog.NewJSONHandler(io.Discard, nil))))
}

// start serves dir in a process of its own.
func start(t *testing.T, dir string, env ...string) (url string, kill func()) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(append(os.Environ(), "SIGNET_TEST_SERVE="+dir), env...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(line), func() {
		c.Process.Kill()
		c.Wait()
	}
}

// Killed at any moment, the service loses no record that it acknowledged, and
// its data stay whole.
func TestKilledServiceLosesNothingAcknowledged(t *testing.T) { killed(t) }

// Nor does one that moves all its objects from pack to pack all the time.
func TestKilledServiceThatCompactsLosesNothingAcknowledged(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	killed(t, "SIGNET_TEST_EAGER=1")
}

func killed(t *testing.T, env ...string) {
	kills := 6
	if testing.Short() {
		kills = 2
	}
	b := newBench(t)
	b.clock.t = time.Now()
	d := b.found()
	w := d.newRegion(1)
	writers := []*writer{w}
	for range 3 {
		writers = append(writers, w.on(d.add()))
	}
	must(t, b.Service.Close())
	t.Cleanup(b.open)
	org := b.org()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	pending := make([]signet.Record, len(writers)) // sent, not acknowledged
	objects := make([][]byte, len(writers))
	acknowledged := map[string]signet.Receipt{}
	var mu sync.Mutex
	for range kills {
		b.clock.mu.Lock()
		b.clock.t = time.Now()
		b.clock.mu.Unlock()
		url, kill := start(t, b.dir, env...)
		var wg sync.WaitGroup
		enough := make(chan bool, 1) // the service is killed after so many receipts
		left := 20 + random.IntN(200)
		for i, w := range writers {
			c, err := transport.NewClient(transport.Config{URL: url, Org: org, Device: w.id(), Signer: w.key})
			must(t, err)
			w.session = c
			if w.seen == nil {
				w.seen, w.dir = w.head(w.log()), w.head(signet.Directory(org))
			}
			wg.Go(func() {
				defer c.Close()
				for {
					if pending[i].Head == nil {
						objects[i] = fmt.Appendf(nil, "%d %d %d", i, random64(), time.Now().UnixNano())
						pending[i] = w.entry(nameOf(objects[i]))
					}
					// In this order, so that the sync and the commit race with
					// the kill.
					if c.Put(t.Context(), w.region, [][]byte{objects[i]}) != nil {
						return
					}
					r, err := c.Append(t.Context(), w.log(), pending[i], time.Now().UnixMilli())
					if err != nil {
						return
					}
					mu.Lock()
					acknowledged[string(pending[i].Head)] = r
					if left--; left == 0 {
						enough <- true
					}
					mu.Unlock()
					pending[i] = signet.Record{}
				}
			})
		}
		<-enough
		kill()
		wg.Wait()
	}
	if p := b.problems(t, false); len(p) != 0 {
		t.Fatalf("%+v", p)
	}
	url, kill := start(t, b.dir)
	defer kill()
	c, err := transport.NewClient(transport.Config{URL: url, Org: org, Device: d.id(), Signer: d.key})
	must(t, err)
	defer c.Close()
	var all []signet.Record
	for {
		p, err := c.Read(t.Context(), w.log(), uint64(len(all)), signet.WithHead)
		must(t, err)
		if len(p.Records) == 0 {
			break
		}
		all = append(all, p.Records...)
	}
	for head, r := range acknowledged {
		if r.Position >= uint64(len(all)) || string(all[r.Position].Head) != head || string(all[r.Position].Leaf) != string(r.Leaf) {
			t.Errorf("acknowledged at %d of %d, and is not there", r.Position, len(all))
		}
	}
	t.Logf("%d acknowledged, %d stored", len(acknowledged), len(all))
}

func random64() uint64 { return rand.Uint64() }
