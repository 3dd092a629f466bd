package tree_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/tree"
	"signet/core/wire"
	"signet/spec/vectors"
)

// A case is either bytes of a batch ("batch"), or a script of entries
// ("entries") with the outcomes and the tree that it leads to. How ids and
// salts follow from the names in a script is in spec/operations.md.
func TestVectors(t *testing.T) {
	vectors.Run(t, "operations", func(c vectors.Case) string {
		if b, ok := c.Files["batch"]; ok {
			if _, err := tree.ParseBatch(b); errors.Is(err, wire.ErrMalformed) {
				return "malformed"
			} else if err != nil {
				return err.Error()
			}
			return "ok"
		}
		s := script{tree: tree.New(), revs: map[string]signet.RevisionID{}, bytes: map[[32]byte]string{}, nodes: map[signet.NodeID]string{}}
		if err := s.run(c.Files["entries"]); err != nil {
			return err.Error()
		}
		ok := "ok"
		for name, got := range map[string]string{"outcomes": strings.Join(s.outcomes, "\n"), "tree": s.listing()} {
			if want := string(c.Files[name]); got != want {
				t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
				ok = name + " differ"
			}
		}
		return ok
	})
}

type script struct {
	tree     *tree.Tree
	revs     map[string]signet.RevisionID
	bytes    map[[32]byte]string
	nodes    map[signet.NodeID]string
	outcomes []string
	items    []tree.Item
	labels   []string
	device   string
	pos      uint64
	at       int64 // leaf time of the entry, if it is said
	told     func(tree.Entry, *tree.Batch, []tree.Outcome)
}

var region = signet.RegionID(sha256.Sum256([]byte("region")))

func (s *script) run(b []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) == 0 {
			continue
		}
		if f[0] == "entry" {
			s.flush()
			s.device = f[1]
			if len(f) > 2 {
				at, err := time.Parse(time.RFC3339Nano, f[2])
				if err != nil {
					return err
				}
				s.at = at.UnixMilli()
			}
			continue
		}
		if err := s.op(f); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
	}
	s.flush()
	return nil
}

func (s *script) flush() {
	if s.device == "" {
		return
	}
	s.pos++
	b, err := tree.NewBatch(s.device, s.items)
	if err != nil {
		panic(err)
	}
	e := tree.Entry{Region: region, Hash: s.hash(s.pos), Position: s.pos, Time: int64(s.pos) * 60_000,
		Device: signet.DeviceID(sha256.Sum256([]byte("device " + s.device)))}
	if s.at != 0 {
		e.Time = s.at
	}
	out := s.tree.Apply(e, b)
	if s.told != nil {
		s.told(e, b, out)
	}
	for i, o := range out {
		if o.Result == tree.Conflicted {
			s.nodes[o.Node] = fmt.Sprintf("conflict:%d:%d", s.pos, i)
		}
		line := s.labels[i] + " " + o.Result.String() + " " + s.nodeName(o.Node)
		if o.Reason != "" {
			line += ": " + string(o.Reason)
		}
		s.outcomes = append(s.outcomes, line)
	}
	s.items, s.labels = nil, nil
}

func (s *script) hash(pos uint64) signet.Hash {
	return sha256.Sum256(fmt.Append(nil, "entry ", pos))
}

func (s *script) node(name string) signet.NodeID {
	if name == "root" {
		return signet.RootNode
	}
	if name == "lost+found" {
		return tree.LostAndFound(region)
	}
	if rest, ok := strings.CutPrefix(name, "conflict:"); ok {
		a, b, _ := strings.Cut(rest, ":")
		pos, _ := strconv.Atoi(a)
		i, _ := strconv.Atoi(b)
		return tree.ConflictNode(region, s.hash(uint64(pos)), i)
	}
	h := sha256.Sum256([]byte("node " + name))
	id := signet.NodeID(h[:16])
	s.nodes[id] = name
	return id
}

func (s *script) nodeName(id signet.NodeID) string {
	switch id {
	case signet.RootNode:
		return "root"
	case tree.LostAndFound(region):
		return "lost+found"
	}
	return s.nodes[id]
}

// op reads "REV: KIND NODE key=value …".
func (s *script) op(f []string) error {
	rev := strings.TrimSuffix(f[0], ":")
	kinds := map[string]tree.Kind{"create": tree.Create, "edit": tree.Edit, "move": tree.Move, "meta": tree.Attr, "delete": tree.Delete, "pin": tree.Mark, "policy": tree.Rule}
	op := tree.Op{Kind: kinds[f[1]], Node: s.node(f[2])}
	if op.Kind == tree.Rule {
		op.Node, op.Keep.Hours = signet.NodeID{}, 24
	}
	if op.Kind == tree.Create {
		op.Type, op.Mode = tree.Dir, 0o755
	}
	for _, kv := range f[3:] {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "in":
			op.Parent = s.node(v)
		case "name":
			name, err := strconv.Unquote(`"` + v + `"`)
			if err != nil {
				return err
			}
			op.Name = name
		case "content":
			op.Type, op.Size, op.Hash = tree.File, int64(len(v)), sha256.Sum256([]byte(v))
			op.PlaintextID = sha256.Sum256([]byte("plaintext " + v))
			op.Content = []byte(v)
			s.bytes[op.Hash] = v
		case "target":
			op.Type, op.Target = tree.Link, v
		case "content-base":
			op.BaseContent = s.revs[v]
		case "place-base":
			op.BasePlace = s.revs[v]
		case "attr-base":
			op.BaseAttr = s.revs[v]
		case "base":
			op.BaseContent, op.BasePlace, op.BaseAttr = s.revs[v], s.revs[v], s.revs[v]
		case "mode":
			m, err := strconv.ParseUint(v, 8, 32)
			if err != nil {
				return err
			}
			op.Mode, op.HasMode = uint32(m), op.Kind == tree.Attr
		case "complete":
			c, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return err
			}
			op.Whole, op.Complete = true, c
		case "days", "weeks":
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return err
			}
			*map[string]*int64{"days": &op.Keep.Days, "weeks": &op.Keep.Weeks}[k] = n
		case "since":
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return err
			}
			op.Keep.Since = t.UnixMilli()
		case "seen", "position":
			c, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return err
			}
			op.Seen = c
		default:
			return fmt.Errorf("unknown key %q", k)
		}
	}
	switch op.Kind { // "base" sets what the kind has
	case tree.Edit:
		op.BasePlace, op.BaseAttr = signet.RevisionID{}, signet.RevisionID{}
	case tree.Move:
		op.BaseContent, op.BaseAttr = signet.RevisionID{}, signet.RevisionID{}
	case tree.Attr:
		op.BasePlace = signet.RevisionID{}
	}
	it, err := s.item(op, rev)
	if err != nil {
		return err
	}
	s.revs[rev] = it.Revision
	s.items = append(s.items, it)
	s.labels = append(s.labels, rev)
	return nil
}

// item salts an operation with the hash of its label, through the encoding.
func (s *script) item(op tree.Op, label string) (tree.Item, error) {
	raw, err := op.Bytes()
	if err != nil {
		return tree.Item{}, err
	}
	salt := sha256.Sum256([]byte("salt " + label))
	b := []byte{0, 1, 0, 0, 1}
	b = append(b, salt[:16]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(raw)))
	batch, err := tree.ParseBatch(append(b, raw...))
	if err != nil {
		return tree.Item{}, err
	}
	return batch.Items[0], nil
}

func (s *script) listing() string {
	var out []string
	for path, n := range s.tree.Walk() {
		line := strconv.Quote(path)
		line = line[1 : len(line)-1]
		switch n.Type {
		case tree.Dir:
			line += "/"
		case tree.Link:
			line += " -> " + n.Target
		default:
			line += ": " + s.bytes[n.Hash]
		}
		if n.Mode != 0 {
			line += fmt.Sprintf(" %03o", n.Mode)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
