package sdk

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// TestErrorsAreThoseOfTheProtocol checks the numbers and the messages of errors, and which errors
// are temporary.
func TestErrorsAreThoseOfTheProtocol(t *testing.T) {
	type text struct {
		message   string
		temporary bool
	}
	all := map[ErrorCode]text{
		100: {"internal server error", true}, 101: {"unauthorized", false}, 102: {"unknown channel", false},
		103: {"permission denied", false}, 104: {"method not found", false}, 105: {"already subscribed", false},
		106: {"limit exceeded", false}, 107: {"bad request", false}, 108: {"not available", false}, 109: {"token expired", false},
		110: {"expired", false}, 111: {"too many requests", true}, 112: {"unrecoverable position", false},
		113: {"concurrent pagination", true},
	}
	for c := range ErrorCode(5000) {
		if got := (text{c.Message(), c.IsTemporary()}); got != all[c] {
			t.Errorf("%d is %+v, want %+v", c, got, all[c])
		}
	}
	for c := range errorTexts {
		if c < 100 || c >= 400 {
			t.Errorf("%d: below 100 one SDK gives up for good, and codes from 400 on are the application's", c)
		}
	}
	if n := constants(t, "ErrorCode"); n != len(errorTexts) {
		t.Errorf("%d constants and %d texts", n, len(errorTexts))
	}
}

func TestUnsubscribesAreThoseOfTheProtocol(t *testing.T) {
	all := map[UnsubscribeCode]string{2000: "server unsubscribe", 2500: "insufficient state", 2501: "subscription expired",
		2502: "state invalidated"}
	for c := range UnsubscribeCode(5000) {
		if c.Reason() != all[c] {
			t.Errorf("%d is %q, want %q", c, c.Reason(), all[c])
		}
	}
	for c := range unsubscribeReasons {
		if c < 2000 || c > 2999 {
			t.Errorf("%d is no code of an unsubscribe", c)
		}
	}
	if n := constants(t, "UnsubscribeCode"); n != len(unsubscribeReasons) {
		t.Errorf("%d constants and %d reasons", n, len(unsubscribeReasons))
	}
}

func TestClosesAreThoseOfTheProtocol(t *testing.T) {
	all := map[CloseCode]string{
		3001: "shutdown", 3004: "internal server error", 3005: "connection expired", 3006: "subscription expired", 3008: "slow",
		3009: "write error", 3010: "insufficient state", 3011: "force reconnect", 3012: "no pong", 3013: "too many requests",
		3014: "state invalidated", 3500: "invalid token", 3501: "bad request", 3502: "stale", 3503: "force disconnect",
		3504: "connection limit", 3505: "channel limit", 3506: "inappropriate protocol", 3507: "permission denied",
		3508: "not available", 3509: "too many errors",
	}
	for c := range CloseCode(5000) {
		if c.Reason() != all[c] {
			t.Errorf("%d is %q, want %q", c, c.Reason(), all[c])
		}
	}
	if n := constants(t, "CloseCode"); n != len(closeReasons) {
		t.Errorf("%d constants and %d reasons", n, len(closeReasons))
	}
}

// TestReasonsOfClosesAreTakenAsText checks what the SDK for JavaScript needs. A reason must not be
// empty, must not be JSON, and must fit into a close frame.
func TestReasonsOfClosesAreTakenAsText(t *testing.T) {
	for c, reason := range closeReasons {
		if c < 3000 || c > 3999 {
			t.Errorf("%d is no code of a close", c)
		}
		if reason == "" || json.Valid([]byte(reason)) || len(reason) > 123 {
			t.Errorf("the reason of %d is %q", c, reason)
		}
	}
}

// constants returns the number of constants that codes.go declares with the given type.
func constants(t *testing.T, of string) (n int) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == of {
				n += len(spec.Names)
			}
		}
		return true
	})
	return n
}
