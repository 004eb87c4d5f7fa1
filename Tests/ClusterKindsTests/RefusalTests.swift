import KubernetesAPI
import ResourceModel
import Testing
import Values

@testable import ClusterKinds

/// Answers of real servers → what they mean and what a person is told.
struct RefusalTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var code: Int
        var json: String
        var meaning: Refusal.Meaning
        var said: String
        var testDescription: String { said }

        init(_ code: Int, _ json: String, _ meaning: Refusal.Meaning, _ said: String) {
            self.code = code
            self.json = json
            self.meaning = meaning
            self.said = said
        }
    }

    static let cases = [
        Case(
            403,
            #"{"reason":"Forbidden","message":"services \"x\" is forbidden: User \"nobody\" cannot get resource \"services\" in API group \"\" in the namespace \"default\""}"#,
            .notAsked,
            "user nobody may not get services in namespace default. A Role with apiGroups [\"\"], resources [services], verbs [get, list, create, patch] lets it"
        ),
        // Kubernetes 1.20, of an apply that would create.
        Case(
            403,
            #"{"reason":"Forbidden","message":"priorityclasses.scheduling.k8s.io \"x\" is forbidden: "}"#,
            .notAsked,
            "this user may patch and may not create priorityclasses.scheduling.k8s.io. A Role or ClusterRole with apiGroups [\"scheduling.k8s.io\"], resources [priorityclasses], verbs [get, list, create, patch] lets it"
        ),
        Case(
            403,
            #"{"message":"clusterroles.rbac.authorization.k8s.io is forbidden: User \"system:serviceaccount:a:b\" cannot list resource \"clusterroles\" in API group \"rbac.authorization.k8s.io\" at the cluster scope"}"#,
            .notAsked,
            "user system:serviceaccount:a:b may not list clusterroles.rbac.authorization.k8s.io in the whole cluster. A ClusterRole with apiGroups [\"rbac.authorization.k8s.io\"], resources [clusterroles], verbs [get, list, create, patch] lets it"
        ),
        Case(
            403,
            #"{"message":"pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"}"#,
            .problem(.blocked),
            "the server does not admit it: pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
        ),
        Case(
            403,
            #"{"message":"admission webhook \"deny.example.com\" denied the request: it cannot be"}"#,
            .problem(.blocked),
            "the server does not admit it: admission webhook \"deny.example.com\" denied the request: it cannot be"
        ),
        Case(
            404,
            #"{"reason":"NotFound","message":"namespaces \"shop\" not found","details":{"name":"shop","kind":"namespaces"}}"#,
            .problem(.blocked),
            "waits for Namespace shop, which is not there. Declare it, or create it"
        ),
        Case(404, #""404 page not found""#, .problem(.invalid), "the server has no such kind any more. Plan again"),
        Case(
            409,
            #"{"reason":"Conflict","message":"Apply failed with 1 conflict","details":{"causes":[{"reason":"FieldManagerConflict","message":"conflict with \"kubectl\" using v1","field":".spec.type"}]}}"#,
            .problem(.held),
            "set by somebody else since it was read: spec.type (by kubectl). Plan again to see it"
        ),
        Case(
            409,
            #"{"reason":"Conflict","message":"uid mismatch: the provided object specified uid a, and no existing object was found"}"#,
            .problem(.blocked),
            "the object that was read is gone, or another came in its place. Plan again"
        ),
        Case(
            422,
            #"{"reason":"Invalid","message":"x","details":{"causes":[{"reason":"FieldValueInvalid","message":"Invalid value: 1: field is immutable","field":"spec.selector"}]}}"#,
            .problem(.blocked),
            "spec.selector can't be changed once the object is there. Declare it as it is, or delete the object so that it is made anew: spec.selector: Invalid value: 1: field is immutable"
        ),
        Case(
            422,
            #"{"reason":"Invalid","message":"x","details":{"causes":[{"message":"Required value","field":"spec.ports"}]}}"#,
            .problem(.invalid),
            "the server refuses it: spec.ports: Required value"
        ),
        Case(
            400,
            #"{"message":"admission webhook \"a\" does not support dry run"}"#,
            .notAsked,
            "an admission webhook takes no dry-run: admission webhook \"a\" does not support dry run"
        ),
        Case(
            400,
            #"{"message":"strict decoding error: unknown field \"spec.x\""}"#,
            .problem(.invalid),
            "the server refuses it: strict decoding error: unknown field \"spec.x\""
        ),
        Case(
            500,
            #"{"message":"failed to create typed patch object: .dataa: field not declared in schema"}"#,
            .problem(.invalid),
            "the manifest does not fit its kind: failed to create typed patch object: .dataa: field not declared in schema"
        ),
        Case(
            500,
            #"{"message":"Internal error occurred: failed calling webhook \"v\": connection refused"}"#,
            .problem(.blocked),
            "waits for an admission webhook that does not answer: Internal error occurred: failed calling webhook \"v\": connection refused"
        ),
        Case(500, #"{"message":"etcdserver: leader changed"}"#, .problem(.unknown), "the server failed (500): etcdserver: leader changed"),
        Case(
            503,
            #""upstream is away""#,
            .problem(.unknown),
            "the server is overloaded or not ready (503): upstream is away. Try again later"
        ),
        Case(415, "{}", .problem(.invalid), "this server knows no server-side apply; Kubernetes 1.18 or newer is needed"),
    ]

    @Test(arguments: Self.cases)
    func isSaidInPlainWords(item: Case) throws {
        let response = APIResponse(status: item.code, body: try Value(json: item.json.utf8))
        let refusal = Refusal(try #require(APIStatus(response)), hidesText: false)
        #expect(refusal.meaning == item.meaning)
        #expect(refusal.message == item.said)
    }

    @Test(arguments: Self.cases)
    func repeatsNothingThatCouldBeSecret(item: Case) throws {
        var body = try Value(json: item.json.utf8)
        if body.objectValue != nil {
            body["message"] = .string("hunter2 \(body["message"]?.stringValue ?? "")")
            let causes = body[path: "details", "causes"]?.arrayValue ?? []
            body["details"]?["causes"] = .array(
                causes.map { cause in
                    var cause = cause
                    cause["message"] = .string("\(cause["message"]?.stringValue ?? "") hunter2")
                    return cause
                }
            )
        } else {
            body = .string("hunter2 \(body.stringValue ?? "")")
        }
        let refusal = Refusal(try #require(APIStatus(APIResponse(status: item.code, body: body))), hidesText: true)
        #expect(!refusal.message.contains("hunter2"))
    }
}
