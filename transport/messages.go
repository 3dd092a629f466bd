package transport

import (
	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// Paths. Every request is a POST; spec/transport.md has the bodies.
const (
	pathInfo     = "/v1/info"
	pathNonce    = "/v1/nonce"
	pathConnect  = "/v1/connect"
	pathEnrol    = "/v1/enrol"
	pathRelayPut = "/v1/relay/put"
	pathRelayGet = "/v1/relay/get"
	pathAppend   = "/v1/append"
	pathRead     = "/v1/read"
	pathWait     = "/v1/wait"
	pathHave     = "/v1/have"
	pathPut      = "/v1/put"
	pathGet      = "/v1/get"
	pathRecord   = "/v1/record"
	pathRecords  = "/v1/records"
	pathUsage    = "/v1/usage"
	pathLost     = "/v1/recovering"
	pathReoffer  = "/v1/reoffer"
	pathShow     = "/v1/show"
)

const (
	contentType      = "application/signet"
	contentTypeError = "application/json"
	headerSignet     = "Signet" // on every request and every answer
	headerVersion    = "1"
	headerRequest    = "Signet-Request" // the service's id of the request
)

// Frames of a streamed answer: type, length in 4 bytes, body.
const (
	frameHello  = 1 // Wait: u32 milliseconds between pings; the first frame
	framePage   = 2 // Wait: a page
	framePing   = 3 // Wait: empty
	frameError  = 4 // the JSON of an error; the last frame
	frameEnd    = 5 // empty; the last frame: Get is complete, Wait is over because the service goes down
	frameObject = 6 // Get: object id, then the object
	frameShown  = 7 // Wait: region id, device id, then the sealed glimpse

	frameHeader = 5
)

func putLog(w *wire.Writer, l signet.LogID) {
	w.U8(uint8(l.Kind))
	w.Raw(l.ID[:])
}

func takeLog(r *wire.Reader) (l signet.LogID) {
	l.Kind = signet.LogKind(r.U8())
	r.Raw(l.ID[:])
	if l.Kind != signet.DirectoryLog && l.Kind != signet.RegionLog {
		r.Fail("log kind %d", l.Kind)
	}
	return l
}

func putGlimpse(w *wire.Writer, g signet.Glimpse) {
	w.Raw(g.Region[:])
	w.Raw(g.From[:])
	w.Vec16(g.Sealed)
}

func takeGlimpse(r *wire.Reader) (g signet.Glimpse) {
	r.Raw(g.Region[:])
	r.Raw(g.From[:])
	g.Sealed = r.Vec16(MaxGlimpse)
	return g
}

func putRecord(w *wire.Writer, x signet.Record) {
	w.Vec8(x.Leaf)
	w.Vec24(x.Head)
	w.Vec24(x.Blob)
}

func takeRecord(r *wire.Reader) signet.Record {
	return signet.Record{Leaf: r.Vec8(MaxLeaf), Head: r.Vec24(MaxHead), Blob: r.Vec24(MaxBlob)}
}

func recordSize(x signet.Record) int { return 1 + 3 + 3 + len(x.Leaf) + len(x.Head) + len(x.Blob) }

// checkRecord refuses what putRecord could not write or takeRecord not read.
func checkRecord(x signet.Record) error {
	switch {
	case len(x.Leaf) > MaxLeaf:
		return Errorf(KindTooLarge, "record with a leaf of %d bytes, at most %d allowed", len(x.Leaf), MaxLeaf)
	case len(x.Head) > MaxHead:
		return Errorf(KindTooLarge, "record with a head of %d bytes, at most %d allowed", len(x.Head), MaxHead)
	case len(x.Blob) > MaxBlob:
		return Errorf(KindTooLarge, "record with a blob of %d bytes, at most %d allowed", len(x.Blob), MaxBlob)
	}
	return nil
}

// putPage writes as many records of p as fit the page target, at least one,
// and says how many.
func putPage(w *wire.Writer, p signet.Page) int {
	n, size := 0, 0
	for n < len(p.Records) && n < MaxPageRecords && size < pageTarget {
		size += recordSize(p.Records[n])
		n++
	}
	putLog(w, p.Log)
	w.U64(p.From)
	w.Vec16(p.Checkpoint)
	w.U32(uint32(n))
	for _, x := range p.Records[:n] {
		putRecord(w, x)
	}
	return n
}

func takePage(r *wire.Reader) (p signet.Page) {
	p.Log = takeLog(r)
	p.From = r.U64()
	p.Checkpoint = r.Vec16(MaxCheckpoint)
	n := int(r.U32())
	// A record takes seven bytes or more: a false count cannot make us
	// allocate more than a few times what was received.
	if n > MaxPageRecords || n*7 > r.Len() {
		r.Fail("page of %d records in %d bytes", n, r.Len())
		return p
	}
	p.Records = make([]signet.Record, n)
	for i := range p.Records {
		p.Records[i] = takeRecord(r)
	}
	return p
}

// putReoffer writes a page, its proof and a flag.
func putReoffer(w *wire.Writer, o signet.Reoffer) {
	putPage(w, o.Page)
	w.U8(uint8(len(o.Proof)))
	for _, h := range o.Proof {
		w.Raw(h[:])
	}
	w.U8(flag(o.Done))
}

func takeReoffer(r *wire.Reader) (o signet.Reoffer) {
	o.Page = takePage(r)
	o.Proof = takeProof(r)
	o.Done = takeFlag(r)
	return o
}

// putLogs and takeLogs: a count in four bytes, then that many logs.
func putLogs(w *wire.Writer, logs []signet.LogID) {
	w.U32(uint32(len(logs)))
	for _, l := range logs {
		putLog(w, l)
	}
}

func takeLogs(r *wire.Reader) []signet.LogID {
	n := int(r.U32())
	if n > MaxHeads || n*33 > r.Len() {
		r.Fail("%d logs in %d bytes", n, r.Len())
		return nil
	}
	logs := make([]signet.LogID, n)
	for i := range logs {
		logs[i] = takeLog(r)
	}
	return logs
}

func putReceipt(w *wire.Writer, c signet.Receipt) {
	w.U64(c.Position)
	w.Vec8(c.Leaf)
	w.Vec16(c.Checkpoint)
	w.U8(uint8(len(c.Proof)))
	for _, h := range c.Proof {
		w.Raw(h[:])
	}
}

func takeReceipt(r *wire.Reader) (c signet.Receipt) {
	c.Position = r.U64()
	c.Leaf = r.Vec8(MaxLeaf)
	c.Checkpoint = r.Vec16(MaxCheckpoint)
	c.Proof = takeProof(r)
	return c
}

func takeProof(r *wire.Reader) []signet.Hash {
	n := int(r.U8())
	if n > MaxProof {
		r.Fail("proof of %d hashes", n)
		return nil
	}
	proof := make([]signet.Hash, n)
	for i := range proof {
		r.Raw(proof[i][:])
	}
	return proof
}

func putInfo(w *wire.Writer, i Info) {
	w.Raw(i.Org[:])
	w.Vec16(i.LogKey)
	w.I64(i.Time)
	w.Vec8([]byte(i.Version))
	w.U8(flag(i.Fresh))
}

func takeInfo(r *wire.Reader) (i Info) {
	r.Raw(i.Org[:])
	i.LogKey = r.Vec16(key.PublicSize)
	i.Time = r.I64()
	i.Version = oneLine(string(r.Vec8(255)))
	i.Fresh = takeFlag(r)
	return i
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func takeFlag(r *wire.Reader) bool {
	v := r.U8()
	if v > 1 {
		r.Fail("flag of %d", v)
	}
	return v == 1
}

func putUsage(w *wire.Writer, u signet.Usage) {
	w.I64(u.Region)
	w.I64(u.Used)
	w.I64(u.Limit)
}

func takeUsage(r *wire.Reader) (u signet.Usage) {
	u.Region, u.Used, u.Limit = r.I64(), r.I64(), r.I64()
	if u.Region < 0 || u.Used < 0 || u.Limit < 0 {
		r.Fail("usage below 0")
	}
	return u
}

// putIDs and takeIDs: a count in four bytes, then that many ids.
func putIDs(w *wire.Writer, ids []signet.ObjectID) {
	w.U32(uint32(len(ids)))
	for i := range ids {
		w.Raw(ids[i][:])
	}
}

func takeIDs(r *wire.Reader) []signet.ObjectID {
	n := int(r.U32())
	if n > MaxIDs || n*32 > r.Len() {
		r.Fail("%d object ids in %d bytes", n, r.Len())
		return nil
	}
	ids := make([]signet.ObjectID, n)
	for i := range ids {
		r.Raw(ids[i][:])
	}
	return ids
}

func putHeads(w *wire.Writer, heads map[signet.LogID]uint64) {
	w.U32(uint32(len(heads)))
	for l, n := range heads {
		putLog(w, l)
		w.U64(n)
	}
}

func takeHeads(r *wire.Reader) map[signet.LogID]uint64 {
	n := int(r.U32())
	if n > MaxHeads || n*41 > r.Len() {
		r.Fail("%d heads in %d bytes", n, r.Len())
		return nil
	}
	heads := make(map[signet.LogID]uint64, n)
	for range n {
		l := takeLog(r)
		heads[l] = r.U64()
	}
	if r.Err() == nil && len(heads) != n {
		r.Fail("a log named twice")
	}
	return heads
}

// putRecords and takeRecords: sealed records, a count in four bytes first.
func putRecords(w *wire.Writer, records [][]byte) {
	w.U32(uint32(len(records)))
	for _, x := range records {
		w.Vec16(x)
	}
}

func takeRecords(r *wire.Reader) [][]byte {
	n := int(r.U32())
	if n > MaxRecords || n*2 > r.Len() {
		r.Fail("%d sealed records in %d bytes", n, r.Len())
		return nil
	}
	records := make([][]byte, n)
	for i := range records {
		records[i] = r.Vec16(MaxSealedRecord)
	}
	return records
}
