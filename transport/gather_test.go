package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
)

// counting is a connection that keeps what is written, and counts how often.
type counting struct {
	net.Conn
	got    bytes.Buffer
	writes int
	fail   error
}

func (c *counting) Write(b []byte) (int, error) {
	c.writes++
	if c.fail != nil {
		return 0, c.fail
	}
	return c.got.Write(b)
}

func TestGathererSendsRecordsTogetherAndInOrder(t *testing.T) {
	below := &counting{}
	g := &gatherer{Conn: below}
	var want []byte
	record := func(n int) {
		b := bytes.Repeat([]byte{byte(len(want))}, n)
		want = append(want, b...)
		if k, err := g.Write(b); k != n || err != nil {
			t.Fatalf("write of %d: %d, %v", n, k, err)
		}
	}
	record(1000)
	if below.writes != 1 {
		t.Error("what nobody gathers does not go out at once")
	}
	g.gather()
	for range 4 {
		record(16<<10 + 22)
	}
	if below.writes != 1 {
		t.Errorf("%d writes while four records are gathered", below.writes-1)
	}
	record(16 << 10)       // more than there is room for
	record(gatherRoom + 1) // and by itself
	record(7)
	if err := g.flush(); err != nil || below.writes != 5 {
		t.Errorf("%d writes, %v", below.writes, err)
	}
	if err := g.flush(); err != nil || below.writes != 5 { // nothing is left
		t.Errorf("a second flush: %d writes, %v", below.writes, err)
	}
	record(5)
	if below.writes != 6 || !bytes.Equal(below.got.Bytes(), want) {
		t.Errorf("%d writes; the bytes are those that were written: %v", below.writes, bytes.Equal(below.got.Bytes(), want))
	}
}

func TestGathererSaysThatSendingFailed(t *testing.T) {
	boom := errors.New("boom")
	g := &gatherer{Conn: &counting{fail: boom}}
	g.gather()
	if _, err := g.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := g.flush(); !errors.Is(err, boom) {
		t.Errorf("flush: %v", err)
	}
	g.gather()
	g.Write(make([]byte, gatherRoom))
	if _, err := g.Write([]byte("d")); !errors.Is(err, boom) {
		t.Errorf("write that had to send: %v", err)
	}
}

// A body goes out several records at a time, whole, and its own error comes back.
func TestGatheringConnSendsABodyInFewWrites(t *testing.T) {
	near, far := net.Pipe()
	below := &pipeCount{Conn: near}
	g := &gatherer{Conn: below}
	cert, _, err := SelfSigned(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	c := &gatheringConn{tls.Client(g, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true}), g}
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}})
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(server)
		got <- b
	}()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("signet"), 1<<20/6)
	before := below.writes
	if n, err := c.ReadFrom(bytes.NewReader(body)); n != int64(len(body)) || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, most := below.writes-before, len(body)/gatherSize+1; n > most {
		t.Errorf("%d writes for %d bytes, want at most %d", n, len(body), most)
	}
	boom := errors.New("boom")
	if _, err := c.ReadFrom(io.MultiReader(bytes.NewReader(body[:100]), failing{boom})); !errors.Is(err, boom) {
		t.Errorf("a body that fails: %v", err)
	}
	c.Close()
	if b := <-got; !bytes.Equal(b, append(body, body[:100]...)) {
		t.Errorf("%d bytes arrived of %d", len(b), len(body)+100)
	}
}

type pipeCount struct {
	net.Conn
	writes int
}

func (p *pipeCount) Write(b []byte) (int, error) {
	p.writes++
	return p.Conn.Write(b)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
