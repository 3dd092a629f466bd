package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// sizes say how large the input of a run is.
type sizes struct {
	Large int64 `json:"large_bytes"` // W1, W3
	Small int   `json:"small_files"` // W2, W6
	Mean  int   `json:"small_mean"`  // bytes, log-normal
	Tree  int   `json:"tree_files"`  // W4
	Saves int   `json:"saves"`       // W5
}

var (
	full  = sizes{Large: 1 << 30, Small: 10_000, Mean: 16 << 10, Tree: 100_000, Saves: 200}
	scale = sizes{Large: 1 << 30, Small: 100_000, Mean: 2 << 10, Tree: 1_000_000, Saves: 200}
	quick = sizes{Large: 6 << 20, Small: 120, Mean: 4 << 10, Tree: 300, Saves: 5}
)

// noise is an endless stream that nothing compresses, the same for a seed.
func noise(seed uint64) io.Reader {
	var k [16]byte
	binary.LittleEndian.PutUint64(k[:], seed)
	b, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err) // the key has a valid size
	}
	return cipher.StreamReader{S: cipher.NewCTR(b, make([]byte, 16)), R: zeros{}}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// writeLarge writes n bytes of noise, with extra bytes of other noise inserted
// at an offset (negative: none).
func writeLarge(path string, seed uint64, n, at int64, extra int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	body := io.LimitReader(noise(seed), n)
	buf := make([]byte, 1<<20)
	if at >= 0 {
		if _, err := io.CopyBuffer(only{f}, io.LimitReader(body, at), buf); err != nil {
			return err
		}
		if _, err := io.CopyN(f, noise(seed+1), int64(extra)); err != nil {
			return err
		}
	}
	_, err = io.CopyBuffer(only{f}, body, buf)
	return err
}

// only hides ReadFrom, so that a copy goes through the buffer it was given.
type only struct{ io.Writer }

// writeTree makes n files, 100 in a folder, and returns their paths in the
// order in which they were made.
func writeTree(dir string, seed uint64, n, mean int) ([]string, error) {
	r := rand.New(rand.NewPCG(seed, 1))
	src := noise(seed)
	var paths []string
	const sigma = 1.0
	mu := math.Log(float64(mean)) - sigma*sigma/2
	for i := range n {
		folder := filepath.Join(fmt.Sprintf("d%03d", i/1000), fmt.Sprintf("e%d", i/100%10))
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
				return nil, err
			}
		}
		size := min(int64(math.Exp(mu+sigma*r.NormFloat64())), 1<<20)
		b := make([]byte, size)
		if _, err := io.ReadFull(src, b); err != nil {
			return nil, err
		}
		p := filepath.Join(folder, fmt.Sprintf("f%06d.dat", i))
		if err := os.WriteFile(filepath.Join(dir, p), b, 0o644); err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// digest is the hash over names, sizes, modification times and contents of
// what is at a path. Where content is false the contents are left out.
func digest(path string, content bool) (string, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(path, p)
		fmt.Fprintf(h, "%q %d %d\n", rel, info.Size(), info.ModTime().Truncate(time.Millisecond).UnixMilli())
		if !content {
			return nil
		}
		return add(h, p, buf)
	})
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

func add(h hash.Hash, path string, buf []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(only{h}, f, buf)
	return err
}
