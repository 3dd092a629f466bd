package enrol

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"signet"
)

func TestWordsSurviveThePeopleWhoTypeThem(t *testing.T) {
	for range 50 {
		s := NewSecret()
		words := Words(s[:])
		if n := len(strings.Fields(words)); n != 7 {
			t.Fatalf("%d words", n)
		}
		for _, typed := range []string{
			words, strings.ToUpper(words), " " + strings.ReplaceAll(words, " ", " - ") + "\n",
			strings.ReplaceAll(words, " ", ""), strings.ReplaceAll(words, " ", ", "), strings.ReplaceAll(words, " ", "–"),
		} {
			if got, err := ParseSecret(typed); err != nil || got != s {
				t.Errorf("%q: %v", typed, err)
			}
		}
	}
}

func TestWordsSayWhichOneIsWrong(t *testing.T) {
	named, silent := 0, 0
	for i := range 200 {
		s := NewSecret()
		w := strings.Fields(Words(s[:]))
		at, letter := i%7, i%5
		alphabet := consonants
		if letter%2 == 1 {
			alphabet = vowels
		}
		old := w[at]
		w[at] = old[:letter] + string(alphabet[(strings.IndexByte(alphabet, old[letter])+1)%len(alphabet)]) + old[letter+1:]
		_, err := ParseSecret(strings.Join(w, " "))
		if err == nil {
			silent++
		} else if !errors.Is(err, ErrWords) {
			t.Fatal(err)
		} else if strings.Contains(err.Error(), fmt.Sprintf("word %d, %q", at+1, w[at])) {
			named++
		}
	}
	// A wrong letter goes unnoticed once in 65,536, and unnamed now and then.
	if silent > 1 || named < 180 {
		t.Errorf("of 200 wrong letters %d unnoticed, %d named", silent, named)
	}
}

func TestWordsThatAreNoWordsAreNamed(t *testing.T) {
	s := NewSecret()
	w := strings.Fields(Words(s[:]))
	for _, bad := range []string{"hello", "zo", "babab1", "ba\x1b[ab", "ééééé"} {
		u := append([]string(nil), w...)
		u[3] = bad
		if _, err := ParseSecret(strings.Join(u, " ")); !errors.Is(err, ErrWords) || strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, few := range []string{"", "  ", strings.Join(w[:6], " "), strings.Join(append(w, w[0]), " ")} {
		if _, err := ParseSecret(few); !errors.Is(err, ErrWords) {
			t.Errorf("%q: %v", few, err)
		}
	}
}

var invitation = DeviceInvitation{
	Service: "https://box.example:8443", Secret: Secret{9}, Org: signet.OrgID{1}, Ring: signet.RingID{2},
	LogKeys: signet.Hash{3}, Certificate: signet.Hash{4}, Expires: time.Unix(1789000000, 0).UTC(),
}

func TestInvitationIsReadAsWritten(t *testing.T) {
	public := invitation
	public.Certificate = signet.Hash{}
	public.Service = "http://127.0.0.1:80/signet"
	for _, i := range []DeviceInvitation{invitation, public} {
		u := i.URL()
		if got, err := ParseDeviceInvitation(" " + u + "\n"); err != nil || got != i {
			t.Errorf("%s: %+v, %v", u, got, err)
		}
		if !IsDeviceInvitation(u) || IsDeviceInvitation("https://box.example/#i"+u) {
			t.Error("not recognised")
		}
	}
}

func TestInvitationThatIsDamagedIsRefusedWithoutRepeatingIt(t *testing.T) {
	u := invitation.URL()
	secret := u[strings.Index(u, "#")+5:][:16]
	for _, bad := range []string{
		"", "hello", u[:len(u)-1], u[:len(u)-20], u + "AA", u + "?", strings.Replace(u, "#d", "#x", 1),
		strings.Replace(u, "https", "ftp", 1), strings.Replace(u, "https", "http", 1), strings.Replace(u, "box", "me:pw@box", 1),
		strings.Replace(u, "/#", "/?q=1#", 1), "https://#d" + u[len(u)-40:], u + "\x00",
	} {
		_, err := ParseDeviceInvitation(bad)
		if !errors.Is(err, ErrLink) {
			t.Errorf("%q: %v", bad, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
	newer := strings.Replace(u, "#dAQ", "#dAg", 1)
	if _, err := ParseDeviceInvitation(newer); !errors.Is(err, ErrNewer) {
		t.Errorf("newer format: %v", err)
	}
}

func TestInvitationExpires(t *testing.T) {
	if err := invitation.Check(invitation.Expires.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	if err := invitation.Check(invitation.Expires); !errors.Is(err, ErrExpired) || !errors.Is(err, signet.ErrNotAllowed) {
		t.Errorf("after its time: %v", err)
	}
}

func FuzzInvitation(f *testing.F) {
	f.Add(invitation.URL())
	f.Fuzz(func(t *testing.T, text string) {
		i, err := ParseDeviceInvitation(text)
		if err != nil {
			return
		}
		if j, err := ParseDeviceInvitation(i.URL()); err != nil || i != j {
			t.Errorf("%q: %+v, then %+v, %v", text, i, j, err)
		}
	})
}

var kit = RecoveryKit{
	Service: "https://box.example:8443", Org: signet.OrgID{1}, Ring: signet.RingID{2}, LogKeys: signet.Hash{3},
	Certificate: signet.Hash{4}, Made: time.Unix(1789000000, 0).UTC(), Secret: [16]byte{5, 6, 7},
}

func TestRecoveryKitIsReadAsWritten(t *testing.T) {
	public := kit
	public.Certificate = signet.Hash{}
	for _, k := range []RecoveryKit{kit, public} {
		text := k.Format()
		for _, typed := range []string{
			text, strings.ReplaceAll(text, "\n", "\r\n"), "\ufeff" + text, strings.TrimRight(text, "\n"),
			strings.ReplaceAll(text, "organisation:", "  Organisation :"), "# found in a drawer\n\n" + text,
		} {
			if got, err := ParseRecoveryKit(typed); err != nil || got != k {
				t.Errorf("%v\n%s", err, typed)
			}
		}
	}
}

func TestRecoveryKitThatIsDamagedIsRefused(t *testing.T) {
	text := kit.Format()
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":      {"", ErrKit},
		"prose":      {"dear diary", ErrKit},
		"twice":      {text + "ring: x\n", ErrKit},
		"unknown":    {text + "colour: red\n", ErrKit},
		"newer":      {strings.Replace(text, " 1\n", " 2\ncolour: red\n", 1), ErrNewer},
		"no words":   {text[:strings.Index(text, "words:")], ErrKit},
		"short ring": {strings.Replace(text, "ring_a", "ring_", 1), ErrKit},
		"bad hash":   {strings.Replace(text, "0300", "03zz", 1), ErrKit},
		"a letter":   {text[:len(text)-2] + "0\n", ErrWords},
		"long line":  {strings.Repeat("x", 1<<17), ErrKit},
	} {
		_, err := ParseRecoveryKit(c.text)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRecoveryKit(f *testing.F) {
	f.Add(kit.Format())
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseRecoveryKit(text)
		if err != nil {
			return
		}
		if again, err := ParseRecoveryKit(k.Format()); err != nil || !again.Made.Equal(k.Made) || again.Secret != k.Secret {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func TestRecoverySeedsDifferByUseAndRing(t *testing.T) {
	a, b := kit.Seeds()
	other := kit
	other.Ring[0]++
	c, d := other.Seeds()
	seen := map[[32]byte]bool{a: true, b: true, c: true, d: true}
	if again, _ := kit.Seeds(); len(seen) != 4 || again != a {
		t.Error("seeds repeat, or are not a function of the kit")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	for _, v := range []any{Secret{0xab, 0xcd}, kit} {
		for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(f, v); len(s) > 30 {
				t.Errorf("%s prints %s", f, s)
			}
		}
	}
}
