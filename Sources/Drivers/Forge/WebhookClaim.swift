import Foundation

/// The headers of a request that say who sends it and what vouches for it; all others are dropped.
package struct WebhookHeaders: Sendable {
    private static let known: Set<String> = [
        "content-type", "idempotency-key", "webhook-id", "webhook-signature", "webhook-timestamp", "x-event-key", "x-forgejo-delivery",
        "x-forgejo-event", "x-forgejo-signature", "x-gitea-delivery", "x-gitea-event", "x-gitea-signature", "x-github-delivery",
        "x-github-event", "x-gitlab-event", "x-gitlab-token", "x-hub-signature", "x-hub-signature-256", "x-request-uuid", "x-request-id",
        "x-signature",
    ]

    private var values: [String: String] = [:]
    /// A header that is there twice: which one counts would be anybody's guess.
    private(set) var repeated: String?

    package init(_ fields: some Sequence<(name: String, value: String)>) {
        for (name, value) in fields {
            let name = name.lowercased()
            guard Self.known.contains(name) else { continue }
            if values.updateValue(value, forKey: name) != nil { repeated = name }
        }
    }

    subscript(name: String) -> String? { values[name] }
}

/// What the headers of a request claim. Nothing of it is known to be true.
package struct WebhookClaim: Hashable, Sendable {
    enum Proof: Hashable, Sendable {
        /// HMAC-SHA256 of the body.
        case signature([UInt8])
        /// Standard Webhooks: HMAC-SHA256 of ID, time and body; any of several.
        case timedSignatures(id: String, timestamp: String, [[UInt8]])
        /// The secret itself.
        case token(String)
    }

    package var forge: ForgeKind
    /// What is offered, the best first; the second counts only where nothing is configured that the first could be checked by.
    var proofs: [Proof]
    /// As the header has it; nil where the forge sends none.
    package var event: String?
    /// The delivery's own name. No forge but GitLab signs it.
    package var delivery: String?
    /// The body is a form with the JSON in its field `payload`.
    var isForm: Bool

    /// Longer ones are no IDs.
    private static let longestID = 200
    /// More signatures than this in one header are no rotation.
    private static let mostSignatures = 8

    /// The order matters: Gitea and Forgejo send GitHub's headers as well, and GitHub sends the one that Bitbucket uses.
    static func read(_ headers: WebhookHeaders) -> Result<WebhookClaim, WebhookRefusal> {
        if let name = headers.repeated { return .failure(.malformed("the header \(name) is there twice")) }
        func claim(_ forge: ForgeKind, _ proofs: [Proof?], event: String?, delivery: String?) -> Result<WebhookClaim, WebhookRefusal> {
            let proofs = proofs.compactMap { $0 }
            guard !proofs.isEmpty else { return .failure(.malformed("its signature is no HMAC-SHA256")) }
            let id = delivery.flatMap { $0.isEmpty || $0.utf8.count > longestID ? nil : $0 }
            let isForm = headers["content-type"]?.lowercased().hasPrefix("application/x-www-form-urlencoded") ?? false
            return .success(WebhookClaim(forge: forge, proofs: proofs, event: event, delivery: id, isForm: isForm))
        }
        if let text = headers["x-forgejo-signature"] {
            let event = headers["x-forgejo-event"] ?? headers["x-gitea-event"]
            return claim(.forgejo, [hexadecimal(text)], event: event, delivery: headers["x-forgejo-delivery"] ?? headers["x-gitea-delivery"])
        }
        if let text = headers["x-gitea-signature"] {
            return claim(.gitea, [hexadecimal(text)], event: headers["x-gitea-event"], delivery: headers["x-gitea-delivery"])
        }
        if headers["webhook-signature"] != nil || headers["x-gitlab-token"] != nil {
            let signed = timedSignatures(headers)
            if headers["webhook-signature"] != nil, signed == nil { return .failure(.malformed("its signature is none of Standard Webhooks")) }
            let token = headers["x-gitlab-token"].flatMap { $0.isEmpty ? nil : Proof.token($0) }
            let id = signed == nil ? headers["idempotency-key"] : headers["webhook-id"]
            return claim(.gitlab, [signed, token], event: headers["x-gitlab-event"], delivery: id)
        }
        if let text = headers["x-hub-signature-256"] {
            return claim(.github, [prefixed(text)], event: headers["x-github-event"], delivery: headers["x-github-delivery"])
        }
        if let text = headers["x-hub-signature"] {
            let id = headers["x-request-uuid"] ?? headers["x-request-id"]
            return claim(.bitbucket, [prefixed(text)], event: headers["x-event-key"], delivery: id)
        }
        if let text = headers["x-signature"] { return claim(.generic, [prefixed(text)], event: nil, delivery: nil) }
        return .failure(.unsigned)
    }

    private static func timedSignatures(_ headers: WebhookHeaders) -> Proof? {
        guard let text = headers["webhook-signature"], let id = headers["webhook-id"], let timestamp = headers["webhook-timestamp"],
            !id.isEmpty, id.utf8.count <= longestID, timestamp.utf8.count <= 20
        else { return nil }
        let parts = text.split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count <= mostSignatures else { return nil }
        let signatures = parts.compactMap { part -> [UInt8]? in
            guard part.hasPrefix("v1,"), let bytes = Data(base64Encoded: String(part.dropFirst(3))), bytes.count == 32 else { return nil }
            return Array(bytes)
        }
        return signatures.isEmpty ? nil : .timedSignatures(id: id, timestamp: timestamp, signatures)
    }

    /// `sha256=` and 64 digits.
    private static func prefixed(_ text: String) -> Proof? {
        text.hasPrefix("sha256=") ? hexadecimal(text.dropFirst(7)) : nil
    }

    private static func hexadecimal(_ text: some StringProtocol) -> Proof? {
        let digits = Array(text.utf8)
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(32)
        for index in stride(from: 0, to: 64, by: 2) {
            guard let high = nibble(digits[index]), let low = nibble(digits[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return .signature(bytes)
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x37
        case 0x61...0x66: digit - 0x57
        default: nil
        }
    }
}
