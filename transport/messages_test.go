package transport

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signet"
	"signet/core/key"
	"signet/core/wire"
	"signet/spec/vectors"
)

// parsers read a body and write it again.
var parsers = []struct {
	name  string
	again func(*wire.Reader, *wire.Writer)
}{
	{"page", func(r *wire.Reader, w *wire.Writer) { putPage(w, takePage(r)) }},
	{"receipt", func(r *wire.Reader, w *wire.Writer) { putReceipt(w, takeReceipt(r)) }},
	{"record", func(r *wire.Reader, w *wire.Writer) { putRecord(w, takeRecord(r)) }},
	{"ids", func(r *wire.Reader, w *wire.Writer) { putIDs(w, takeIDs(r)) }},
	{"logs", func(r *wire.Reader, w *wire.Writer) { putLogs(w, takeLogs(r)) }},
	{"re-offer", func(r *wire.Reader, w *wire.Writer) { putReoffer(w, takeReoffer(r)) }},
	{"records", func(r *wire.Reader, w *wire.Writer) { putRecords(w, takeRecords(r)) }},
}

func FuzzParsedBodiesAreWrittenAgain(f *testing.F) {
	var w wire.Writer
	putPage(&w, signet.Page{Log: signet.Directory(signet.OrgID{1}), From: 7, Checkpoint: []byte("note"),
		Records: []signet.Record{{Leaf: []byte("leaf"), Head: []byte("head"), Blob: []byte("blob")}, {}}})
	f.Add(w.B)
	w.B = nil
	putReceipt(&w, signet.Receipt{Position: 3, Leaf: []byte("leaf"), Checkpoint: []byte("note"), Proof: []signet.Hash{{1}, {2}}})
	f.Add(w.B)
	w.B = nil
	putReoffer(&w, signet.Reoffer{Page: signet.Page{Log: signet.Journal(signet.RegionID{1}), From: 7, Checkpoint: []byte("note"),
		Records: []signet.Record{{Leaf: []byte("leaf"), Head: []byte("head"), Blob: []byte("blob")}}}, Proof: []signet.Hash{{1}}, Done: true})
	f.Add(w.B)
	w.B = nil
	putLogs(&w, []signet.LogID{signet.Directory(signet.OrgID{1}), signet.Journal(signet.RegionID{2})})
	f.Add(w.B)
	w.B = nil
	putIDs(&w, []signet.ObjectID{{1}, {2}})
	f.Add(w.B)
	w.B = nil
	putRecords(&w, [][]byte{[]byte("a"), nil})
	f.Add(w.B)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range parsers {
			r := wire.NewReader(b)
			var w wire.Writer
			p.again(r, &w)
			if r.Done() == nil && !bytes.Equal(w.B, b) {
				t.Errorf("%s: %x read and written gives %x", p.name, b, w.B)
			}
		}
		takeHeads(wire.NewReader(b)) // a map: only its order is free
	})
}

func FuzzDecodeErrorIsHarmless(f *testing.F) {
	f.Add(encodeError(MissingObjects([]signet.ObjectID{{1}}).WithHint("upload them"), "r-1"))
	f.Add([]byte(`{"error":{"kind":"rate","message":"a\u001b[31mb\u202e\nc"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeError(b)
		if err != nil {
			return
		}
		if _, ok := kinds[e.Kind]; !ok || bytes.ContainsAny([]byte(e.Error()+e.Hint), "\x00\x1b\n\r\u202e") {
			t.Errorf("%q is read as %q: %q", b, e.Kind, e.Error())
		}
	})
}

func TestPageIsCutWhereItIsLargeEnough(t *testing.T) {
	big := signet.Record{Blob: make([]byte, 3<<20)}
	p := signet.Page{Log: signet.Directory(signet.OrgID{1}), Records: []signet.Record{big, big, big}}
	var w wire.Writer
	if n := putPage(&w, p); n != 2 || len(w.B) > maxPage {
		t.Fatalf("%d records in %d bytes", n, len(w.B))
	}
	r := wire.NewReader(w.B)
	got := takePage(r)
	if r.Done() != nil || len(got.Records) != 2 {
		t.Fatalf("read %d records, %v", len(got.Records), r.Err())
	}
}

func TestHeadsAreReadBack(t *testing.T) {
	heads := map[signet.LogID]uint64{signet.Directory(signet.OrgID{1}): 1, signet.Journal(signet.RegionID{2}): 1 << 40}
	var w wire.Writer
	putHeads(&w, heads)
	r := wire.NewReader(w.B)
	if got := takeHeads(r); r.Done() != nil || !cmp.Equal(got, heads) {
		t.Errorf("got %v, %v", got, r.Err())
	}
	twice := append([]byte{0, 0, 0, 2}, w.B[4:45]...)
	twice = append(twice, w.B[4:45]...)
	r = wire.NewReader(twice)
	if takeHeads(r); r.Done() == nil {
		t.Error("a log named twice is accepted")
	}
}

func TestAddressesAreCountedByWhatOneCustomerHas(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:1":               "192.0.2.7",
		"[::ffff:192.0.2.7]:1":      "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:1":  "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::9]:99": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":          "fe80::/64",
	} {
		if got, loopback := addressOf(in); got != want || loopback {
			t.Errorf("%s is counted as %s, want %s", in, got, want)
		}
	}
	if _, loopback := addressOf("[::1]:1"); !loopback {
		t.Error("::1 is no loopback address")
	}
}

func TestLimitersForgetOnlyFullOnes(t *testing.T) {
	l := limiters{perSecond: 0.1}
	if !l.get("busy").Allow() || l.get("busy").Allow() {
		t.Fatal("a limiter of one token gives none or two")
	}
	for i := range 5000 {
		l.get(string([]byte{byte(i), byte(i >> 8)}))
	}
	if len(l.byID) > 1100 {
		t.Errorf("%d limiters are kept", len(l.byID))
	}
	if l.get("busy").Allow() {
		t.Error("an empty limiter was forgotten")
	}
}

func TestVectors(t *testing.T) {
	vectors.Run(t, "transport", func(c vectors.Case) string {
		r := wire.NewReader(c.Files["bytes"])
		switch c.Fields["body"] {
		case "page":
			takePage(r)
		case "receipt":
			takeReceipt(r)
		case "heads":
			takeHeads(r)
		case "ids":
			takeIDs(r)
		case "info":
			takeInfo(r)
		case "usage":
			takeUsage(r)
		case "binding":
			var b binding
			b.org, b.device, b.channel = signet.OrgID(c.Files["org"]), signet.DeviceID(c.Files["device"]), channelTLS
			copy(b.exporter[:], c.Files["exporter"])
			copy(b.certificate[:], c.Files["certificate"])
			k, err := key.FromSeed([32]byte(c.Files["seed"]))
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Public().Verify(key.LabelConnection, b.bytes(), c.Files["signature"]); err != nil || !bytes.Equal(b.bytes(), c.Files["bytes"]) {
				return "not-verified"
			}
			return "ok"
		default:
			t.Fatalf("body %q", c.Fields["body"])
		}
		if errors.Is(r.Done(), wire.ErrMalformed) {
			return "malformed"
		}
		return "ok"
	})
}

func TestOneDeviceHasHalfOfTheUploads(t *testing.T) {
	u := newUploads(4)
	one, other := signet.DeviceID{1}, signet.DeviceID{2}
	for range 2 {
		if err := u.begin(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.begin(t.Context(), one); !errors.Is(err, signet.ErrUnavailable) {
		t.Errorf("a third upload of one device: %v", err)
	}
	if err := u.begin(t.Context(), other); err != nil {
		t.Errorf("another device: %v", err)
	}
	u.end(one)
	if err := u.begin(t.Context(), one); err != nil {
		t.Errorf("after one ended: %v", err)
	}
}
