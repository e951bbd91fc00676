package protocol

// Endpoint says at which path a session connected, and so which protocol its client speaks. Its
// values are on the link: never renumber.
type Endpoint uint8

const (
	// EndpointChannel is /chat/channel/{id}. Commands come in. Direct messages, messages of joined
	// groups, and broadcasts go out.
	EndpointChannel Endpoint = 1
	EndpointUser    Endpoint = 2 // /chat/user/{id}: direct messages in and out
	EndpointGroup   Endpoint = 3 // /chat/group/{group}/{id}: a group's messages in and out
	EndpointAll     Endpoint = 4 // /chat/all/{id}: broadcasts in and out
	// EndpointSDK is SDKPath, where the clients speak the protocol of Centrifugo's SDKs.
	EndpointSDK Endpoint = 5
)

// Topics returns the topics of which a session at this endpoint is a member as soon as it is
// connected. At EndpointSDK the relay says which topics these are, so Topics returns nil.
func (e Endpoint) Topics(user, group string) []Topic {
	switch e {
	case EndpointChannel:
		return []Topic{UserTopic(user), All}
	case EndpointUser:
		return []Topic{UserTopic(user)}
	case EndpointGroup:
		return []Topic{GroupTopic(group)}
	case EndpointAll:
		return []Topic{All}
	}
	return nil
}

// StoredLen returns about how many bytes the text of a client's frame takes in the published
// envelope. At the endpoints whose frames are raw text, escaping makes the text up to six times as
// long. The JSON of SDKs is a string in the envelope, so its quotes and backslashes are escaped
// once more. The frames of the other endpoints are JSON, whose texts are escaped already.
func (e Endpoint) StoredLen(frame []byte) int {
	switch e {
	case EndpointGroup, EndpointAll, EndpointSDK:
		return quotedLen(frame)
	}
	return len(frame)
}
