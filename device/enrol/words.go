package enrol

import (
	"fmt"
	"strings"
	"unicode"

	"signet/core/key"
)

// A word has five letters, consonant and vowel in turn, and carries 16 bits:
// 4 in a consonant, 2 in a vowel. Letters that are mistaken for another when
// spoken or written (c, e, q, w, x, y) are not among them.
const (
	consonants = "bdfghjklmnprstvz"
	vowels     = "aiou"
	wordLength = 5
)

// Words writes a secret of an even number of bytes as words with single
// spaces, the last of which is a check word.
func Words(secret []byte) string {
	if len(secret)%2 != 0 {
		panic("enrol: a secret of an odd number of bytes has no words")
	}
	all := append(append([]byte(nil), secret...), checkWord(secret)...)
	var words []string
	for ; len(all) > 0; all = all[2:] {
		words = append(words, word(uint16(all[0])<<8|uint16(all[1])))
	}
	return strings.Join(words, " ")
}

// ParseWords reads a secret of n bytes, an even number, from what a person
// typed: in any case, with spaces, hyphens or nothing between words. If a word
// is wrong the error, which wraps ErrWords, says which.
func ParseWords(text string, n int) ([]byte, error) {
	words, err := splitWords(text, n/2+1)
	if err != nil {
		return nil, err
	}
	var all []byte
	for i, w := range words {
		v, ok := value(w)
		if !ok {
			return nil, fmt.Errorf("word %d, %q: %w", i+1, w, ErrWords)
		}
		all = append(all, byte(v>>8), byte(v))
	}
	if checks(all) {
		return all[:n], nil
	}
	if i := suspect(words); i >= 0 {
		return nil, fmt.Errorf("word %d, %q, seems to have a wrong letter: %w", i+1, words[i], ErrWords)
	}
	return nil, fmt.Errorf("more than one letter: %w", ErrWords)
}

// ParseSecret reads an invitation's words.
func ParseSecret(text string) (s Secret, err error) {
	b, err := ParseWords(text, SecretSize)
	copy(s[:], b)
	return s, err
}

// splitWords cuts text into want words. What a person separated stays
// separate, so that a missing letter is found in its own word.
func splitWords(text string, want int) ([]string, error) {
	text = strings.ToLower(text)
	words := strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsPunct(r) || unicode.Is(unicode.Pd, r)
	})
	if joined := strings.Join(words, ""); len(words) != want && len(joined) == want*wordLength {
		words = words[:0]
		for ; joined != ""; joined = joined[wordLength:] {
			words = append(words, joined[:wordLength])
		}
	}
	if len(words) != want {
		return nil, fmt.Errorf("%d words, want %d: %w", len(words), want, ErrWords)
	}
	return words, nil
}

// word is the word of v.
func word(v uint16) string {
	return string([]byte{
		consonants[v>>12], vowels[v>>10&3], consonants[v>>6&15], vowels[v>>4&3], consonants[v&15],
	})
}

// value is what word made w from.
func value(w string) (v uint16, ok bool) {
	if len(w) != wordLength {
		return 0, false
	}
	for i := range wordLength {
		alphabet, bits := consonants, 4
		if i%2 == 1 {
			alphabet, bits = vowels, 2
		}
		d := strings.IndexByte(alphabet, w[i])
		if d < 0 {
			return 0, false
		}
		v = v<<bits | uint16(d)
	}
	return v, true
}

func checkWord(secret []byte) []byte {
	h := key.Sum(key.LabelWords, secret)
	return h[:2]
}

// checks reports whether all ends in the check word of what precedes it.
func checks(all []byte) bool {
	n := len(all) - 2
	return string(checkWord(all[:n])) == string(all[n:])
}

// suspect finds the word in which one other letter would make everything fit;
// -1 where there is none, or more than one.
func suspect(words []string) int {
	found := -1
	for i, w := range words {
		for p := range wordLength {
			alphabet := consonants
			if p%2 == 1 {
				alphabet = vowels
			}
			for _, c := range alphabet {
				try := append([]string(nil), words...)
				try[i] = w[:p] + string(c) + w[p+1:]
				if try[i] == w || !checks(values(try)) {
					continue
				}
				if found >= 0 && found != i {
					return -1
				}
				found = i
			}
		}
	}
	return found
}

func values(words []string) (all []byte) {
	for _, w := range words {
		v, _ := value(w)
		all = append(all, byte(v>>8), byte(v))
	}
	return all
}
