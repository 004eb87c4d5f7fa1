import Foundation
import KubernetesAPI
import ResourceModel
import Values

/// What a server's refusal means for an object, and what to do about it.
struct Refusal: Hashable, Sendable {
    enum Meaning: Hashable, Sendable {
        /// Asking is forbidden, or can't be done: says nothing about the object.
        case notAsked
        case problem(ProblemStatus)
    }

    var meaning: Meaning
    var message: String

    /// - Parameter hidesText: the body had secrets in it, and servers repeat what they do not like.
    init(_ status: APIStatus, hidesText: Bool) {
        let words = RefusalWords(status, hidesText: hidesText)
        switch status.code {
        case 403:
            if let right = words.missingRight {
                self.init(.notAsked, right)
            } else if let right = words.missingCreation {
                self.init(.notAsked, right)
            } else {
                // Quota, pod security, a namespace on its way out, an admission webhook: granting rights would not help.
                self.init(.problem(.blocked), "the server does not admit it: \(words.text)")
            }
        case 404 where status.kind == "namespaces":
            self.init(.problem(.blocked), "waits for Namespace \(status.name), which is not there. Declare it, or create it")
        case 404 where status.isUnknownPath:
            self.init(.problem(.invalid), "the server has no such kind any more. Plan again")
        case 404:
            self.init(.problem(.blocked), "it is gone since it was read. Plan again")
        case 409: self.init(conflict: status, words)
        case 413: self.init(.problem(.invalid), "it is too large for this server")
        case 415: self.init(.problem(.invalid), "this server knows no server-side apply; Kubernetes 1.18 or newer is needed")
        case 422:
            let fields = status.causes.filter { Self.isImmutable($0.message) }.map(\.field).filter { !$0.isEmpty }
            if !fields.isEmpty || status.causes.isEmpty && Self.isImmutable(status.message) {
                let names = fields.isEmpty ? "a field" : Self.listed(fields)
                let advice = "Declare it as it is, or delete the object so that it is made anew"
                self.init(.problem(.blocked), "\(names) can't be changed once the object is there. \(advice): \(words.text)")
            } else {
                self.init(.problem(.invalid), "the server refuses it: \(words.text)")
            }
        case 400 where status.message.contains("does not support dry run"), 400 where status.message.contains("the dryRun"):
            self.init(.notAsked, "an admission webhook takes no dry-run: \(words.text)")
        case 400, 405, 406: self.init(.problem(.invalid), "the server refuses it: \(words.text)")
        case 429, 503, 504: self.init(.problem(.unknown), "the server is overloaded or not ready (\(status.code)): \(words.text). Try again later")
        case 500 where Self.misfits.contains(where: status.message.contains):
            // Until now servers answer a manifest that does not fit its schema as if it were their own mistake.
            self.init(.problem(.invalid), "the manifest does not fit its kind: \(words.text)")
        case 500 where status.message.contains("failed calling webhook"), 500 where status.message.contains("failed calling admission webhook"):
            self.init(.problem(.blocked), "waits for an admission webhook that does not answer: \(words.text)")
        default: self.init(.problem(.unknown), "the server failed (\(status.code)): \(words.text)")
        }
    }

    private init(_ meaning: Meaning, _ message: String) {
        self.meaning = meaning
        self.message = message
    }

    private init(conflict status: APIStatus, _ words: RefusalWords) {
        let conflicts = status.causes.filter { $0.reason == "FieldManagerConflict" }
        if !conflicts.isEmpty {
            // `conflict with "kubectl" using v1`, and with some servers a time after it.
            let taken = conflicts.map { cause in
                let field = cause.field.hasPrefix(".") ? String(cause.field.dropFirst()) : cause.field
                let manager = cause.message.split(separator: "\"", maxSplits: 2, omittingEmptySubsequences: false)
                return manager.count == 3 ? "\(field) (by \(manager[1]))" : field
            }
            self.init(.problem(.held), "set by somebody else since it was read: \(Self.listed(taken)). Plan again to see it")
        } else if status.message.contains("uid") || status.message.contains("UID") {
            self.init(.problem(.blocked), "the object that was read is gone, or another came in its place. Plan again")
        } else {
            self.init(.problem(.blocked), "it was changed at the same moment. Plan again: \(words.text)")
        }
    }

    func problem(at address: ResourceAddress) -> Problem {
        let status: ProblemStatus
        switch meaning {
        case .notAsked: status = .denied
        case .problem(let found): status = found
        }
        return Problem(target: address.target, address: address, status: status, message: message)
    }

    private static func isImmutable(_ message: String) -> Bool {
        ["immutable", "may not be changed", "may not change", "updates to ", "cannot be changed", "can not be changed"]
            .contains(where: message.contains)
    }

    private static let misfits = ["failed to create typed patch object", "failed to convert new object", "unable to convert unstructured object"]

    static func listed(_ fields: [String]) -> String {
        var seen: Set<String> = []
        let unique = fields.filter { seen.insert($0).inserted }
        return unique.prefix(5).joined(separator: ", ") + (unique.count > 5 ? " and \(unique.count - 5) more" : "")
    }
}

/// A server's words, as far as they may be repeated.
struct RefusalWords {
    private let status: APIStatus
    private let hidesText: Bool

    init(_ status: APIStatus, hidesText: Bool) {
        self.status = status
        self.hidesText = hidesText
    }

    var text: String {
        if hidesText {
            let fields = status.causes.map(\.field).filter { !$0.isEmpty }
            let about = fields.isEmpty ? "" : "it is about \(Refusal.listed(fields)); "
            return "\(about)the server's own words are not shown, as they could repeat a secret"
        }
        let causes = status.causes.filter { !$0.message.isEmpty }
        if status.code == 422, !causes.isEmpty {
            return Refusal.listed(causes.map { $0.field.isEmpty ? $0.message : "\($0.field): \($0.message)" })
        }
        return status.message.isEmpty ? "it does not say why" : status.message
    }

    /// `user nobody may not get services in namespace default`, and what to grant.
    ///
    /// The server says it all, in one sentence: `services "x" is forbidden: User "nobody" cannot get resource "services" in API group "" in
    /// the namespace "default"`.
    var missingRight: String? { right.map { $0.advice.isEmpty ? $0.missing : "\($0.missing). \($0.advice)" } }

    /// An apply that makes something takes two rights. Old servers say of the second one only `configmaps "x" is forbidden: `.
    var missingCreation: String? {
        let parts = status.message.split(separator: "\"", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[2].trimmingCharacters(in: .whitespaces) == "is forbidden:" else { return nil }
        // The name of a kind and nothing else: what a server says besides could repeat a secret.
        let words = parts[0].split(separator: " ")
        guard words.count == 1, let resource = words.first, resource.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "." || $0 == "-" }) else {
            return nil
        }
        let names = resource.split(separator: ".", maxSplits: 1).map(String.init)
        return "this user may patch and may not create \(resource). A Role or ClusterRole with apiGroups [\"\(names.count > 1 ? names[1] : "")\"], "
            + "resources [\(names[0])], verbs [get, list, create, patch] lets it"
    }

    /// What is missing, and what to grant.
    var right: (missing: String, advice: String)? {
        guard status.isMissingRight else { return nil }
        let parts = status.message.split(separator: "\"", omittingEmptySubsequences: false).map(String.init)
        func after(_ end: String) -> String? {
            parts.indices.dropLast().first { parts[$0].hasSuffix(end) }.map { parts[$0 + 1] }
        }
        guard let user = after("User "), let resource = after(" resource "), let group = after(" in API group "),
            let verb = parts.first(where: { $0.contains(" cannot ") })?.split(separator: " ").drop(while: { $0 != "cannot" }).dropFirst().first
        else { return (hidesText ? "a right is missing" : status.message, "") }
        let namespace = after(" in the namespace ")
        let name = group.isEmpty ? resource : "\(resource).\(group)"
        let place = namespace.map { "in namespace \($0)" } ?? "in the whole cluster"
        let role = namespace == nil ? "ClusterRole" : "Role"
        return (
            "user \(user) may not \(verb) \(name) \(place)",
            "A \(role) with apiGroups [\"\(group)\"], resources [\(resource)], verbs [get, list, create, patch] lets it"
        )
    }
}
