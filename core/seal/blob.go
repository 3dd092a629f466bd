package seal

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"signet/core/key"
)

// MaxBlob is the longest plaintext of a blob, in bytes.
const MaxBlob = 4 << 20

// A blob is suite, format, salt, commitment; then nonce, ciphertext, tag. The
// plaintext is the content, zero bytes up to its Padmé length, and the
// content's length in four bytes.
const (
	blobFormat  = 1
	blobHeader  = 2 + sumSize + sumSize
	blobTrailer = 4
)

// BlobSize is the length in bytes of the blob of an n-byte plaintext.
func BlobSize(n int) int { return blobHeader + nonceSize + padme(n) + blobTrailer + tagSize }

// SealOps seals an operations blob under a generation's seed. context binds it
// to its place; the same context opens it.
func SealOps(seed *Seed, context, plaintext []byte) ([]byte, error) {
	return sealBlob(seed, key.LabelSeedOps, context, plaintext)
}

// OpenOps opens what SealOps sealed; every failure is ErrOpen.
func OpenOps(seed *Seed, context, blob []byte) ([]byte, error) {
	b, err := openBlob(seed, key.LabelSeedOps, context, blob)
	if err != nil {
		return nil, fmt.Errorf("open operations: %w", err)
	}
	return b, nil
}

// SealRecord seals a name or profile under a generation's seed.
func SealRecord(seed *Seed, context, plaintext []byte) ([]byte, error) {
	return sealBlob(seed, key.LabelSeedRecord, context, plaintext)
}

// OpenRecord opens what SealRecord sealed; every failure is ErrOpen.
func OpenRecord(seed *Seed, context, blob []byte) ([]byte, error) {
	b, err := openBlob(seed, key.LabelSeedRecord, context, blob)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	return b, nil
}

// blobKeys are a blob's AES key and its commitment. A salt for every blob gives
// every blob a key of its own, so random nonces never come near their limit.
func blobKeys(seed *Seed, l key.Label, salt, context []byte) (k, commit []byte) {
	b := derive(seed.in().b[:], salt, l, context, 2*sumSize)
	return b[:sumSize], b[sumSize:]
}

func sealBlob(seed *Seed, l key.Label, context, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxBlob {
		return nil, fmt.Errorf("seal blob: %d bytes, at most %d", len(plaintext), MaxBlob)
	}
	out := make([]byte, blobHeader, BlobSize(len(plaintext)))
	out[0], out[1] = suite, blobFormat
	salt := out[2 : 2+sumSize]
	rand.Read(salt)
	k, commit := blobKeys(seed, l, salt, context)
	copy(out[2+sumSize:], commit)
	inner := make([]byte, padme(len(plaintext))+blobTrailer)
	copy(inner, plaintext)
	binary.BigEndian.PutUint32(inner[len(inner)-blobTrailer:], uint32(len(plaintext)))
	return gcm(k).Seal(out, nil, inner, out[:blobHeader]), nil
}

func openBlob(seed *Seed, l key.Label, context, blob []byte) ([]byte, error) {
	if len(blob) < BlobSize(0) || len(blob) > BlobSize(MaxBlob) {
		return nil, fmt.Errorf("%d bytes: %w", len(blob), ErrOpen)
	}
	if blob[0] != suite || blob[1] != blobFormat {
		return nil, fmt.Errorf("suite %d, format %d: %w", blob[0], blob[1], ErrOpen)
	}
	k, commit := blobKeys(seed, l, blob[2:2+sumSize], context)
	// Without this a ciphertext can be made that opens under two keys.
	if subtle.ConstantTimeCompare(commit, blob[2+sumSize:blobHeader]) != 1 {
		return nil, fmt.Errorf("sealed with another key or context: %w", ErrOpen)
	}
	inner, err := gcm(k).Open(nil, nil, blob[blobHeader:], blob[:blobHeader])
	if err != nil {
		return nil, ErrOpen
	}
	body := inner[:len(inner)-blobTrailer]
	n := int(binary.BigEndian.Uint32(inner[len(body):]))
	if n > len(body) || padme(n) != len(body) || !zero(body[n:]) {
		return nil, fmt.Errorf("padding: %w", ErrOpen)
	}
	return body[:n:n], nil
}
