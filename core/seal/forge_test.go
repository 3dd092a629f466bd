package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	"signet/core/key"
	"signet/core/seal"
)

func hkdf32(secret []byte, info string) []byte {
	return must(hkdf.Key(sha256.New, secret, nil, info, 32))
}

// forge makes a chunk object by spec/content.md alone, with any commitment,
// payload and flag.
func forge(k, commit [32]byte, payload []byte, flag byte) ([]byte, seal.Ref) {
	header := append([]byte{1, 1}, hkdf32(commit[:], string(key.LabelChunkCommit)+"\x00")...)
	inner := append(bytes.Clone(payload), make([]byte, seal.ObjectSize(len(payload))-seal.MinObject-len(payload))...)
	n := len(payload)
	inner = append(inner, byte(n>>24), byte(n>>16), byte(n>>8), byte(n), flag)
	b := must(aes.NewCipher(hkdf32(k[:], string(key.LabelChunk)+"\x00")))
	object := must(cipher.NewGCMWithRandomNonce(b)).Seal(bytes.Clone(header), nil, inner, header)
	return object, seal.Ref{Object: sha256.Sum256(object), Key: k, Size: uint32(n)}
}

// GCM alone would open both of these.
func TestCommitmentRefusesWhatGCMWouldOpen(t *testing.T) {
	a, b := [32]byte{1}, [32]byte{2}
	object, ref := forge(a, b, []byte("salamander"), 0)
	_, err := seal.OpenPiece(nil, ref, object)
	refused(t, "opens under the key, commits to another", err)
	ref.Key = b
	_, err = seal.OpenPiece(nil, ref, object)
	refused(t, "commits to the key, opens under another", err)

	object, ref = forge(a, a, []byte("salamander"), 0)
	if got, err := seal.OpenPiece(nil, ref, object); err != nil || string(got) != "salamander" {
		t.Fatalf("the forger's layout is wrong, so this test shows nothing: %v", err)
	}
	object, ref = forge(a, a, []byte("salamander"), 2)
	_, err = seal.OpenPiece(nil, ref, object)
	refused(t, "unknown flag", err)
}

func TestDecompressionBombIsRefusedInBoundedMemory(t *testing.T) {
	e := must(zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)))
	bomb := e.EncodeAll(make([]byte, 256<<20), nil)
	small := e.EncodeAll(make([]byte, 999), nil)
	for name, payload := range map[string][]byte{
		"bomb": bomb, "two frames": append(bytes.Clone(small), small...), "short": small,
		"magic": {0x28, 0xb5, 0x2f, 0xfd}, "nothing": nil, "no frame": []byte("no frame at all"),
	} {
		object, ref := forge([32]byte{7}, [32]byte{7}, payload, 1)
		ref.Size = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := seal.OpenPiece(nil, ref, object)
		runtime.ReadMemStats(&after)
		refused(t, name, err)
		if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
			t.Errorf("%s: a payload of %d bytes takes %d bytes of memory", name, len(payload), took)
		}
	}
}
