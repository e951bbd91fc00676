package config

import (
	"strings"
	"unicode"
)

// strays finds secret values with characters that are probably mistakes, such as the line break of
// a file or the quotes of a shell. If a peer's value lacks these characters, the two processes have
// different secrets and refuse each other, and no error tells why. The problems contain no part of
// a secret.
func strays(vs []Variable, set map[string]string) (ps Problems) {
	for _, v := range vs {
		if !v.Secret {
			continue
		}
		if what := v.stray(set[v.Name]); what != "" {
			ps = append(ps, Problemf(v.Name, "%s", what))
		}
	}
	return ps
}

// stray returns what is wrong with a secret value, or "" when the value is fine.
func (v Variable) stray(value string) string {
	keys := v.Type == "keys"
	if keys {
		value = strings.TrimLeft(value, " ") // a space before an id is harmless
	}
	if what := stray(value); what != "" || !keys {
		return what
	}
	for entry := range strings.SplitSeq(value, ",") {
		if _, secret, ok := strings.Cut(entry, ":"); ok {
			if what := stray(secret); what != "" {
				return what
			}
		}
	}
	return ""
}

func stray(text string) string {
	const quotes = "\"'`"
	switch {
	case strings.ContainsFunc(text, unicode.IsControl):
		return "has a control character, such as a line break at its end; remove it"
	case strings.TrimSpace(text) != text:
		return "begins or ends with a space, or one of its secrets does; remove it"
	case strings.Trim(text, quotes) != text:
		return "begins or ends with a quote, or one of its secrets does; write it without quotes, " +
			"and choose a secret that has none at its ends"
	}
	return ""
}
