// Package seal opens and seals: private encryption keys, generation seeds,
// ring and region secrets, envelopes, operations blobs, chunks, and the cutting
// of files into pieces.
//
// It promises that what one key sealed for one purpose and context opens with
// that key, purpose and context only; that the key is committed to, so that no
// two keys open one ciphertext; that lengths are padded before they are sealed;
// that nothing opened is longer than the caller was told; and that every
// failure to open is signet.ErrNotVerified. It does not sign, does not decide
// who may have a key, and does not hide how many objects there are.
//
// The service does not import it. Source: spec/envelope.md, spec/content.md;
// RFC 9180 (HPKE), RFC 5869 (HKDF), NIST SP 800-38D (GCM), RFC 8878 (zstd).
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// Sizes in bytes.
const (
	nonceSize = 12
	tagSize   = 16
	sumSize   = 32 // of SHA-256, and of every key, salt and commitment here
)

// suite is key.Suite as the byte that begins every sealed format.
const suite = byte(key.Suite)

// ErrOpen is what every failure to open wraps: the bytes are not what was
// sealed with this key in this context.
var ErrOpen = fmt.Errorf("does not open: %w", signet.ErrNotVerified)

// ErrKeyCommitment is what wraps a key that opened but is not the one that was
// committed to in public. Whoever meets it may complain in public.
var ErrKeyCommitment = fmt.Errorf("key is not the one committed to: %w", signet.ErrNotVerified)

// errMarshal is what every marshaller of a secret type answers.
var errMarshal = errors.New("a secret is not marshalled")

// Secret types keep what is secret behind a func: package fmt follows pointers
// inside unexported fields of other people's structs, where it finds no Format
// method, but of a func it prints the address. It also makes them incomparable.

// hide writes the name of a secret type and nothing of its value, whatever the
// verb.
func hide(f fmt.State, name string) { io.WriteString(f, name+"(…)") }

// derive is HKDF-SHA256 of a secret, with the label and then the context as
// info, so that two uses never share a key.
func derive(secret, salt []byte, l key.Label, context []byte, n int) []byte {
	info := make([]byte, 0, len(l)+1+len(context))
	info = append(info, l...)
	info = append(info, 0)
	info = append(info, context...)
	k, err := hkdf.Key(sha256.New, secret, salt, string(info), n)
	if err != nil {
		// Only a length of more than 255 hashes or, in FIPS mode, a
		// secret under 112 bits: neither is ever input.
		panic("seal: " + err.Error())
	}
	return k
}

// mac is HMAC-SHA256.
func mac(k, data []byte) (out [sumSize]byte) {
	h := hmac.New(sha256.New, k)
	h.Write(data)
	h.Sum(out[:0])
	return out
}

// gcm is AES-256-GCM that draws its nonces itself and puts them before the
// ciphertext.
func gcm(k []byte) cipher.AEAD {
	b, err := aes.NewCipher(k)
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCMWithRandomNonce(b); err == nil {
			return a
		}
	}
	panic("seal: " + err.Error()) // k is always 32 bytes
}

// malformed turns an error of a wire.Reader into one that a caller treats as
// an alarm: what is parsed here was authenticated or bound by hash, so whoever
// made it did so on purpose.
func malformed(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, err, signet.ErrNotVerified)
}

// reader is wire.NewReader, here so that the files below read alike.
func reader(b []byte) *wire.Reader { return wire.NewReader(b) }
