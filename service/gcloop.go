package service

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"signet"
	"signet/service/meta"
)

// Settings by which the command gc reaches the service that has the data.
const (
	settingGCAsk    = "gc-ask"    // a token, while somebody waits for a round
	settingGCAnswer = "gc-answer" // how far it is, as gcAnswer
)

type gcAnswer struct {
	Token   string `json:"token"`
	Freed   Freed  `json:"freed"`
	Done    bool   `json:"done"`
	Failure string `json:"failure,omitempty"`
}

// Times of the service's own rounds, and their bounds.
const (
	gcEvery = time.Hour
	gcFirst = 2 * time.Minute // after the start
)

var gcBudget = budget{objects: 100_000, entries: 100_000, copied: 2 << 30, packs: 256}

// gcLoop does a round an hour, and one without bounds whenever GCAsk wants one.
func (s *Service) gcLoop(ctx context.Context) {
	round := time.NewTimer(gcFirst)
	defer round.Stop()
	var ask <-chan time.Time
	if s.config.Ask > 0 {
		t := time.NewTicker(s.config.Ask)
		defer t.Stop()
		ask = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-round.C:
			s.counters.collected(s.gc.collect(ctx, gcBudget, nil))
			round.Reset(gcEvery) // what went wrong is tried again then, and counted
		case <-ask:
			s.rereadQuotas()
			s.answerGC(ctx)
		}
	}
}

// answerGC does a round that somebody asks for. Where the service ends meanwhile
// the question stays, for whoever has the data then.
func (s *Service) answerGC(ctx context.Context) {
	token, err := s.db.Setting(settingGCAsk)
	if err != nil {
		return
	}
	a := gcAnswer{Token: string(token)}
	said := time.Now()
	a.Freed, err = s.gc.collect(ctx, budget{}, func(f Freed) {
		if time.Since(said) > time.Second {
			said, a.Freed = time.Now(), f
			s.db.Update(a.store) // it is progress alone
		}
	})
	s.counters.collected(a.Freed, err)
	if ctx.Err() != nil {
		return
	}
	if a.Done = true; err != nil {
		a.Failure = err.Error()
	}
	s.db.Update(func(tx *meta.Tx) error { // if it fails, it is done again
		if err := a.store(tx); err != nil {
			return err
		}
		return tx.Set(settingGCAsk, nil)
	})
}

func (a *gcAnswer) store(tx *meta.Tx) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return tx.Set(settingGCAnswer, b)
}

// A GCRequest waits for a round of gc by the service that has the data.
type GCRequest struct {
	db    *meta.DB
	token string
}

// AskGC asks the service that runs on the data in dir for a round of gc.
func AskGC(dir string) (*GCRequest, error) {
	db, err := meta.Open(filepath.Join(dir, databaseName))
	if err != nil {
		return nil, err
	}
	r := &GCRequest{db, rand.Text()}
	if err := r.ask(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

// ask asks, unless somebody else does: then it is asked afterwards.
func (r *GCRequest) ask() error {
	if _, err := r.db.Setting(settingGCAsk); !errors.Is(err, signet.ErrNotFound) {
		return err
	}
	return r.db.Update(func(tx *meta.Tx) error { return tx.Set(settingGCAsk, []byte(r.token)) })
}

// Answer says what the service has done so far, and whether that is all.
func (r *GCRequest) Answer() (f Freed, done bool, err error) {
	b, err := r.db.Setting(settingGCAnswer)
	if err != nil && !errors.Is(err, signet.ErrNotFound) {
		return Freed{}, false, err
	}
	var a gcAnswer
	if err != nil || json.Unmarshal(b, &a) != nil || a.Token != r.token {
		return Freed{}, false, r.ask() // of another request
	}
	err = nil
	if a.Failure != "" {
		err = fmt.Errorf("the service says: %s", a.Failure)
	}
	return a.Freed, a.Done, err
}

// Close takes the question back, if it is still there; a round that runs goes on.
func (r *GCRequest) Close() error {
	err := r.db.Update(func(tx *meta.Tx) error {
		if there, err := r.db.Setting(settingGCAsk); err != nil || string(there) != r.token {
			return nil
		}
		return tx.Set(settingGCAsk, nil)
	})
	return errors.Join(err, r.db.Close())
}
