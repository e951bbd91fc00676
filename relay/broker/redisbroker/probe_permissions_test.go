package redisbroker

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// documentedUser returns the ACL line of docs/deploy.md, as arguments.
func documentedUser(t *testing.T) []any {
	t.Helper()
	text, err := os.ReadFile("../../../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER edgerelay .*$`).FindString(string(text))
	if line == "" {
		t.Fatal("docs/deploy.md has no ACL line")
	}
	var args []any
	for word := range strings.FieldsSeq(line) {
		args = append(args, word)
	}
	return args
}

func command(t *testing.T, server *redistest.Server, args ...any) {
	t.Helper()
	if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// urlOf returns the URL at which the documented user reaches server.
func urlOf(server *redistest.Server) string { return "redis://edgerelay:a-password@" + server.Addr }

func TestC7_TheDocumentedPermissionsDo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	command(t, server, documentedUser(t)...)
	r := relayOn(t, urlOf(server)+"/1")
	r.Join(group)
	last := say(r, group, 1, 3)
	if page := r.History(group, protocol.Position{}); page.Top != last || len(page.Publications) != 3 {
		t.Errorf("%+v", page)
	}
	brokertest.Eventually(t, "one subscriber", func() bool { return r.Count(group) == 1 })
	if got := absences(r, 0); len(got) > 0 {
		t.Errorf("told as %+v", got)
	}
	if missing := r.Broker.(*Broker).Missing(); len(missing) > 0 {
		t.Errorf("missing %v", missing)
	}
}

// TestC7_AMissingPermissionIsNamed takes away one permission at a time, and gives it back. The
// Broker must name the missing permission, and must work once it is given back.
func TestC7_AMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	user := documentedUser(t)
	for _, name := range []string{
		"ping", "time", "get", "getrange", "set", "pexpire", "rpush", "llen", "lrange", "ltrim",
		"hset", "hget", "hlen", "hgetall", "hdel", "publish", "subscribe", "unsubscribe",
	} {
		t.Run(name, func(t *testing.T) {
			command(t, server, "acl", "deluser", "edgerelay")
			command(t, server, append(slices.Clone(user), "-"+name)...)
			r := brokertest.Start(t, openBroker(t, Config{URL: urlOf(server)}))
			state, from := awaitState(r, 0, true)
			wantCause(t, r, state, name)
			brokertest.Eventually(t, "what is missing is known", func() bool {
				return slices.Equal(r.Broker.(*Broker).Missing(), []string{name})
			})
			command(t, server, user...)
			awaitState(r, from, false)
			r.Join(group)
			brokertest.Eventually(t, "nothing is missing", func() bool {
				return len(r.Broker.(*Broker).Missing()) == 0
			})
		})
	}
}

// TestC7_APermissionThatIsTakenLaterIsNoticed takes away the permission to read history, while
// probes are answered. A read of history that fails must reveal the missing permission.
func TestC7_APermissionThatIsTakenLaterIsNoticed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	user := documentedUser(t)
	command(t, server, user...)
	r := relayOn(t, urlOf(server))
	say(r, group, 1, 2)
	command(t, server, append(slices.Clone(user), "-lrange")...)
	from := r.Events()
	r.ReadHistory(group, protocol.Position{}, r.Token())
	state, index := awaitState(r, from, true)
	wantCause(t, r, state, "may not use lrange")
	command(t, server, user...)
	awaitState(r, index, false)
}

// TestC8_ARefusedQuestionIsNoAbsence takes away the permission for PUBSUB NUMSUB. Publishing must
// go on, and the broker must not say that Redis is away.
func TestC8_ARefusedQuestionIsNoAbsence(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	user := documentedUser(t)
	command(t, server, user...)
	r := relayOn(t, urlOf(server))
	r.Join(group)
	r.Say(group, 1, "m")
	command(t, server, append(slices.Clone(user), "-pubsub|numsub")...)
	for n := range uint64(5) {
		from, token := r.Events(), r.Token()
		r.CountSubscribers(group, token)
		answer, _ := brokertest.Await(r, from, "Counted", func(e broker.Counted) bool { return e.Token == token })
		if answer.Err == nil {
			t.Errorf("%+v", answer)
		}
		r.Say(group, n+2, "m")
	}
	brokertest.Eventually(t, "what is missing is known", func() bool {
		return slices.Equal(r.Broker.(*Broker).Missing(), []string{classicChannels.counting()})
	})
	if got := absences(r, 0); len(got) > 0 {
		t.Errorf("told as %+v", got)
	}
}

// TestC7_TheDocumentedPermissionsDoWithShardedChannels takes away each permission that only sharded
// channels need, one at a time. The Broker must name the missing permission. Once the permission is
// given back, the Broker must work.
func TestC7_TheDocumentedPermissionsDoWithShardedChannels(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t, true)
	text, err := os.ReadFile("../../../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	more := regexp.MustCompile("`(\\+spublish [^`]*)`").FindStringSubmatch(string(text))
	if more == nil {
		t.Fatal("docs/deploy.md does not say what sharded channels need")
	}
	user := append(documentedUser(t), "+cluster|info", "+cluster|slots", "-unsubscribe", "-pubsub|numsub")
	names := strings.Fields(more[1])
	for _, name := range names {
		user = append(user, name)
	}
	permit := func(args ...any) {
		t.Helper()
		for _, s := range cluster.Servers {
			command(t, s, args...)
		}
	}
	url := strings.Replace(cluster.URL, "://", "://edgerelay:a-password@", 1)
	missing := func(r *brokertest.Relay) []string { return r.Broker.(*Cluster).Missing() }
	for _, name := range names {
		name = strings.TrimPrefix(name, "+")
		permit("acl", "deluser", "edgerelay")
		permit(append(slices.Clone(user), "-"+name)...)
		r := brokertest.Start(t, openBroker(t, Config{URL: url, Sharded: true}))
		brokertest.Eventually(t, name+" is missed", func() bool { return slices.Equal(missing(r), []string{name}) })
		permit(user...)
		r.Join(group)
		r.Say(group, 1, "m")
		r.Received(group, 0, 1)
		if name != shardedChannels.counting() { // counting is tried again only after a failure
			brokertest.Eventually(t, "nothing is missing", func() bool { return len(missing(r)) == 0 })
		}
		brokertest.Eventually(t, "it is counted", func() bool { return r.Count(group) > 0 })
	}
}
