package account

import (
	"context"
	"time"
)

// Hurry makes newcomers wait for less.
func Hurry(answer, words time.Duration) (restore func()) {
	a, w := patience, wordsTime
	patience, wordsTime = answer, words
	return func() { patience, wordsTime = a, w }
}

// Hear does the first half of Add, as a giver that is killed while its person
// looks at the code.
func (g *Giving) Hear(ctx context.Context) error {
	_, err := g.giver.Await(ctx)
	return err
}
