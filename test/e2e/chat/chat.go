// Package chat has the chat's texts and commands for tests. They are written out in this package,
// and not taken from the product. So tests notice when the product's texts change.
package chat

import (
	"fmt"
	"sync/atomic"
)

// Texts that clients receive.

func Direct(from, msg string) string { return "user " + from + " send:" + msg }
func ToAll(from, msg string) string  { return "user 【" + from + "】 send all:" + msg }
func InGroup(group, from, msg string) string {
	return "group 【" + group + "】 user 【" + from + "】 send:" + msg
}
func Joined(user, group string) string {
	return "user 【" + user + "】 add to group 【" + group + "】"
}
func Left(user, group string) string {
	return "user 【" + user + "】 leave group 【" + group + "】"
}
func NotExists(group string) string   { return "group【" + group + "】 not exists" }
func NotIn(user, group string) string { return "user 【" + user + "】 not in 【" + group + "】" }

// Commands that clients send.

func One(to, msg string) string {
	return fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":%q,"Msg":%q}}`, to, msg)
}
func Group(group, msg string) string {
	return fmt.Sprintf(`{"Method":"Group","Group":%q,"MsgBody":%q}`, group, msg)
}
func All(msg string) string     { return fmt.Sprintf(`{"Method":"All","MsgBody":%q}`, msg) }
func Join(group string) string  { return fmt.Sprintf(`{"Method":"UserGroup","Group":%q}`, group) }
func Leave(group string) string { return fmt.Sprintf(`{"Method":"LeaveGroup","Group":%q}`, group) }

var names atomic.Int64

// Unique returns a name that begins with the given name. No other call in this process returns the
// same name.
func Unique(name string) string { return fmt.Sprintf("%s.%d", name, names.Add(1)) }
