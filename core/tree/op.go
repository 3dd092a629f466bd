// Package tree is the namespace of a region as a value: the operations that
// change it, and the replay that turns a journal's operations into files and
// folders.
//
// It promises that replay is a function of the journal alone: the same entries
// in the same order give the same tree, the same outcomes and the same digest
// on every device; that bytes which somebody put are never dropped by replay (a
// put that cannot have its place or its base becomes a node of its own); and
// that what a delete removes is only what its writer had seen. It does not
// verify signatures, does not know what sealed content is, and keeps no
// history: it is the present, with the tombstones that replay needs.
//
// Spec: spec/operations.md.
package tree

import (
	"fmt"
	"unicode/utf8"

	"signet"
	"signet/core/wire"
)

// A Kind says what an operation does.
type Kind uint8

// The kinds of operation. The numbers are part of the format.
const (
	Create Kind = 1 // a new node: its place, content and attributes at once
	Edit   Kind = 2 // new content of a file, new target of a link; carries the mtime
	Move   Kind = 3 // a new parent, a new name, or both; of RootNode: the region's name
	Attr   Kind = 4 // mode, mtime, or both
	Delete Kind = 5 // a file, a link, an empty folder, or a folder with what its writer saw below it
	Mark   Kind = 6 // a pin is set, or taken off: nothing of the tree
	Rule   Kind = 7 // how long history is kept from now on: nothing of the tree
)

// String is the kind's name in histories: "create", "edit", "move", "meta",
// "delete", "pin" or "policy".
func (k Kind) String() string {
	switch k {
	case Create:
		return "create"
	case Edit:
		return "edit"
	case Move:
		return "move"
	case Attr:
		return "meta"
	case Delete:
		return "delete"
	case Mark:
		return "pin"
	case Rule:
		return "policy"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Limits of an operation, in bytes. A name longer than MaxName is accepted and
// kept cut; see EscapeName.
const (
	MaxName    = 255
	maxRawName = 4096
	maxTarget  = 4096
	maxContent = 4096
)

// An Op is one change of one node, as its writer meant it. Which fields count
// depends on Kind; the others must be zero.
type Op struct {
	Kind     Kind
	Restored bool // part of a restore: histories say so, replay does not care
	Node     signet.NodeID
	Type     Type          // Create, Edit
	Parent   signet.NodeID // Create, Move
	Name     string        // Create, Move: any bytes; Mark: UTF-8, empty takes the pin off

	// The revisions that the writer's base had: of the field that the
	// operation changes, and for Attr and Delete of the content they mean.
	BasePlace   signet.RevisionID // Move, Delete
	BaseContent signet.RevisionID // Edit, Attr, Delete
	BaseAttr    signet.RevisionID // Attr, Delete

	// Create and Edit of a file.
	Size        int64
	Hash        [32]byte // file hash of the plaintext (spec/content.md); opaque here
	PlaintextID [32]byte // keyed id of the whole plaintext
	Content     []byte   // where the bytes are and how to open them (core/seal); opaque here

	Target string // Create and Edit of a link: not empty

	MTime    int64  // nanoseconds since 1970; Create, Edit, Attr with HasMTime
	Mode     uint32 // permission bits, 07777; Create, Attr with HasMode
	HasMTime bool   // Attr
	HasMode  bool   // Attr

	// Seen, of a Create, is the position up to which its writer had replayed
	// the journal. What another device put at the same place after that, the
	// writer did not know: if it is the same, the two become one node. Of a
	// Mark it is the position that is pinned; Node is the pin.
	Seen uint64

	// Whole, of a Delete of a folder: what is below goes too, as far as the
	// writer's base held it. Complete is the position up to which that base
	// held the folder completely.
	Whole    bool
	Complete uint64

	Keep Keep // Rule, whose Node is zero; Hours is that of DefaultKeep
}

const (
	flagRestored = 1 << iota
	flagMode
	flagMTime
	flagWhole
)

func (o *Op) flags() (f uint8) {
	if o.Restored {
		f |= flagRestored
	}
	if o.HasMode {
		f |= flagMode
	}
	if o.HasMTime {
		f |= flagMTime
	}
	if o.Whole {
		f |= flagWhole
	}
	return f
}

// Bytes encodes o. It fails on an Op that ParseOp would not give back equal.
func (o *Op) Bytes() ([]byte, error) {
	if len(o.Name) > maxRawName || len(o.Target) > maxTarget || len(o.Content) > maxContent {
		return nil, fmt.Errorf("operation: name, target or content too long: %w", wire.ErrMalformed)
	}
	var w wire.Writer
	w.U8(uint8(o.Kind))
	w.U8(o.flags())
	w.Raw(o.Node[:])
	switch o.Kind {
	case Create:
		w.U8(uint8(o.Type))
		w.Raw(o.Parent[:])
		w.Vec16([]byte(o.Name))
		o.writePayload(&w)
		w.I64(o.MTime)
		w.U32(o.Mode)
		w.U64(o.Seen)
	case Edit:
		w.U8(uint8(o.Type))
		w.Raw(o.BaseContent[:])
		o.writePayload(&w)
		w.I64(o.MTime)
	case Move:
		w.Raw(o.BasePlace[:])
		w.Raw(o.Parent[:])
		w.Vec16([]byte(o.Name))
	case Attr:
		w.Raw(o.BaseContent[:])
		w.Raw(o.BaseAttr[:])
		if o.HasMode {
			w.U32(o.Mode)
		}
		if o.HasMTime {
			w.I64(o.MTime)
		}
	case Delete:
		w.Raw(o.BaseContent[:])
		w.Raw(o.BasePlace[:])
		w.Raw(o.BaseAttr[:])
		if o.Whole {
			w.U64(o.Complete)
		}
	case Mark:
		w.U64(o.Seen)
		w.Vec8([]byte(o.Name))
	case Rule:
		if o.Keep.check() != nil {
			return nil, fmt.Errorf("operation: policy out of bounds: %w", wire.ErrMalformed)
		}
		w.U16(uint16(o.Keep.Days))
		w.U16(uint16(o.Keep.Weeks))
		w.I64(o.Keep.Since)
	}
	if _, err := ParseOp(w.B); err != nil {
		return nil, err
	}
	return w.B, nil
}

func (o *Op) writePayload(w *wire.Writer) {
	switch o.Type {
	case File:
		w.I64(o.Size)
		w.Raw(o.Hash[:])
		w.Raw(o.PlaintextID[:])
		w.Vec16(o.Content)
	case Link:
		w.Vec16([]byte(o.Target))
	}
}

// ParseOp reads one operation. Every error wraps wire.ErrMalformed.
func ParseOp(b []byte) (Op, error) {
	r := wire.NewReader(b)
	o := Op{Kind: Kind(r.U8())}
	flags := r.U8()
	allowed := uint8(flagRestored)
	o.Restored = flags&flagRestored != 0
	o.HasMode, o.HasMTime = flags&flagMode != 0, flags&flagMTime != 0
	o.Whole = flags&flagWhole != 0
	r.Raw(o.Node[:])
	switch o.Kind {
	case Create:
		o.Type = Type(r.U8())
		r.Raw(o.Parent[:])
		o.Name = string(r.Vec16(maxRawName))
		o.readPayload(r)
		o.MTime = r.I64()
		o.Mode = r.U32()
		o.Seen = r.U64()
	case Edit:
		o.Type = Type(r.U8())
		r.Raw(o.BaseContent[:])
		if o.Type == Dir {
			r.Fail("a folder has no content")
		}
		o.readPayload(r)
		o.MTime = r.I64()
	case Move:
		r.Raw(o.BasePlace[:])
		r.Raw(o.Parent[:])
		o.Name = string(r.Vec16(maxRawName))
	case Attr:
		allowed |= flagMode | flagMTime
		if !o.HasMode && !o.HasMTime {
			r.Fail("attributes without any")
		}
		r.Raw(o.BaseContent[:])
		r.Raw(o.BaseAttr[:])
		if o.HasMode {
			o.Mode = r.U32()
		}
		if o.HasMTime {
			o.MTime = r.I64()
		}
	case Delete:
		allowed |= flagWhole
		r.Raw(o.BaseContent[:])
		r.Raw(o.BasePlace[:])
		r.Raw(o.BaseAttr[:])
		if o.Whole {
			o.Complete = r.U64()
		}
	case Mark:
		o.Seen = r.U64()
		if o.Name = string(r.Vec8(MaxName)); !utf8.ValidString(o.Name) {
			r.Fail("name of a pin is not UTF-8")
		}
	case Rule:
		o.Keep = Keep{Hours: DefaultKeep.Hours, Days: int64(r.U16()), Weeks: int64(r.U16()), Since: r.I64()}
		if o.Node != (signet.NodeID{}) {
			r.Fail("a policy has no node")
		}
		if err := o.Keep.check(); err != nil {
			r.Fail("%v", err)
		}
	default:
		r.Fail("operation of kind %d", o.Kind)
	}
	if flags&^allowed != 0 {
		r.Fail("flags %#x on a %s", flags, o.Kind)
	}
	if o.Mode > 0o7777 {
		r.Fail("mode %#o", o.Mode)
	}
	if err := r.Done(); err != nil {
		return Op{}, fmt.Errorf("operation: %w", err)
	}
	return o, nil
}

func (o *Op) readPayload(r *wire.Reader) {
	switch o.Type {
	case File:
		o.Size = r.I64()
		if o.Size < 0 {
			r.Fail("negative size")
		}
		r.Raw(o.Hash[:])
		r.Raw(o.PlaintextID[:])
		if c := r.Vec16(maxContent); len(c) > 0 {
			o.Content = append([]byte(nil), c...)
		}
	case Link:
		o.Target = string(r.Vec16(maxTarget))
		if o.Target == "" {
			r.Fail("link without a target")
		}
	case Dir:
	default:
		r.Fail("node of type %d", o.Type)
	}
}
