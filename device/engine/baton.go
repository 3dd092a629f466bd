package engine

import "context"

// A baton is for what one goroutine at a time does that may take long, such as
// asking the service: a mutex that is waited for no longer than a context
// lasts.
type baton struct {
	held chan struct{}
	step func(what string) // Config.Step
	what string
}

func newBaton(what string, step func(string)) baton {
	if step == nil {
		step = func(string) {}
	}
	return baton{make(chan struct{}, 1), step, what}
}

// take waits for the baton. Its error is the context's.
func (b baton) take(ctx context.Context) error {
	if b.try(ctx) {
		return nil
	}
	select {
	case b.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try takes the baton if nobody has it.
func (b baton) try(ctx context.Context) bool {
	b.step(b.what + actorOf(ctx))
	select {
	case b.held <- struct{}{}:
		return true
	default:
		return false
	}
}

func (b baton) give() { <-b.held }

// actor is the key of what acting says in a context.
type actor struct{}

// acting says which of a device's goroutines a context is of. Two of them may ask for
// one baton at a time, and a simulation has to tell them apart.
func acting(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actor{}, ", "+who)
}

func actorOf(ctx context.Context) string {
	who, _ := ctx.Value(actor{}).(string)
	return who
}
