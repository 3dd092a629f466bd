package owner_test

import (
	"crypto/sha256"
	"testing"

	"signet"
	"signet/core/region"
	"signet/core/seal"
	"signet/core/tree"
	"signet/core/wire"
)

// A member who may write says of a file's object that it holds another file.
// Whoever fetches it and later makes that other file must send it all the
// same: else nobody has it.
func TestObjectIsNotTakenForWhatItsWriterSaysItIs(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	a.add("R")
	a.sync()
	b.add("R")
	b.sync()

	decoy, real := []byte("nothing of worth"), []byte("a secret of b's.") // of one length
	id := a.Engine.Volumes()[0].Region
	var secret *seal.Secret
	must(t, a.Engine.WithRegion(id, func(r *region.Region) error { secret = r.Secret(); return nil }))
	object, ref, err := seal.SealPiece(nil, decoy)
	must(t, err)
	must(t, a.Engine.Service.Put(t.Context(), id, [][]byte{object}))
	c := seal.Content{Size: int64(ref.Size), Hash: sha256.Sum256(decoy), PlaintextID: secret.PlaintextID(real), Piece: &ref}
	var wr wire.Writer
	c.Append(&wr)
	must(t, a.Engine.Put(t.Context(), id, func(*tree.Tree) ([]tree.Op, error) {
		return []tree.Op{{Kind: tree.Create, Node: signet.NodeID{7}, Type: tree.File, Name: "decoy", Size: int64(len(decoy)),
			Hash: c.Hash, PlaintextID: c.PlaintextID, Content: wr.B, Mode: 0o644, MTime: 1}}, nil
	}))
	b.sync()
	b.write("treasure", string(real))
	b.write("decoy", string(real)) // a new version of the file itself, too
	b.sync()
	a.sync()
	same(t, a, b)
	quiet(t, a, b)
}
