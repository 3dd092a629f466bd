package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"io/fs"
	"runtime"

	"signet/core/key"
	"signet/core/wire"
)

const (
	magic       = "signet keys\n"
	format      = 1
	payloadSize = 128
	maxFile     = 4096
)

// file is a key file taken apart.
type file struct {
	where Where
	entry string
	salt  [32]byte
	body  []byte
}

func (f *file) header() []byte {
	var w wire.Writer
	w.Raw([]byte(magic))
	w.U8(format)
	w.U8(uint8(f.where))
	w.Vec8([]byte(f.entry))
	w.Raw(f.salt[:])
	return w.B
}

// encode makes the file that holds payload, sealed if there is a wrapping key.
func (f *file) encode(payload, wrapping []byte) ([]byte, error) {
	w := wire.Writer{B: f.header()}
	body := payload
	if f.where == Keyring {
		aead, err := wrap(wrapping, f.salt[:])
		if err != nil {
			return nil, err
		}
		body = aead.Seal(nil, nil, payload, w.B)
	}
	w.Vec16(body)
	sum := sha256.Sum256(w.B)
	w.Raw(sum[:])
	return w.B, nil
}

// decode takes a file apart. The format comes before the sum: a newer file may
// be laid out otherwise from there on.
func decode(b []byte) (*file, error) {
	r := wire.NewReader(b)
	r.Const(magic)
	if v := r.U8(); r.Err() == nil && v > format {
		return nil, ErrNewer
	} else if v != format {
		return nil, ErrCorrupt
	}
	f := &file{where: Where(r.U8()), entry: string(r.Vec8(255))}
	r.Raw(f.salt[:])
	f.body = r.Vec16(maxFile)
	sum := r.Take(sha256.Size)
	if r.Done() != nil || sha256.Sum256(b[:len(b)-sha256.Size]) != [32]byte(sum) {
		return nil, ErrCorrupt
	}
	switch {
	case f.where == File && f.entry == "" && len(f.body) == payloadSize:
	case f.where == Keyring && f.entry != "":
	default:
		return nil, ErrCorrupt
	}
	return f, nil
}

// open returns the payload, which is payloadSize bytes long.
func (f *file) open(wrapping []byte) ([]byte, error) {
	if f.where == File {
		return f.body, nil
	}
	aead, err := wrap(wrapping, f.salt[:])
	if err != nil {
		return nil, err
	}
	// The sum was right, so this is not damage: the keyring's secret is not
	// the one that the file was sealed with.
	p, err := aead.Open(nil, nil, f.body, f.header())
	if err != nil {
		return nil, ErrKeyring
	}
	if len(p) != payloadSize {
		return nil, ErrCorrupt
	}
	return p, nil
}

func wrap(wrapping, salt []byte) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, wrapping, salt, string(key.LabelKeyFile), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// exposed reports whether others than the owner may touch a file. Windows
// keeps that elsewhere: the home's own permissions guard the file there.
func exposed(m fs.FileMode) bool { return runtime.GOOS != "windows" && m.Perm()&0o077 != 0 }
