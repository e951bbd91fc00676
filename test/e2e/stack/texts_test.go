package stack

import "fmt"

// The protocol's texts, as the other suite has them: written out and not taken from the product.

func direct(from, msg string) string { return "user " + from + " send:" + msg }
func toAll(from, msg string) string  { return "user 【" + from + "】 send all:" + msg }
func inGroup(group, from, msg string) string {
	return "group 【" + group + "】 user 【" + from + "】 send:" + msg
}
func joinText(user, group string) string {
	return "user 【" + user + "】 add to group 【" + group + "】"
}

func cmdOne(to, msg string) string {
	return fmt.Sprintf(`{"Method":"One","MsgBody":{"Id":%q,"Msg":%q}}`, to, msg)
}
func cmdJoin(group string) string { return fmt.Sprintf(`{"Method":"UserGroup","Group":%q}`, group) }
func cmdGroup(group, msg string) string {
	return fmt.Sprintf(`{"Method":"Group","Group":%q,"MsgBody":%q}`, group, msg)
}
func cmdAll(msg string) string { return fmt.Sprintf(`{"Method":"All","MsgBody":%q}`, msg) }
