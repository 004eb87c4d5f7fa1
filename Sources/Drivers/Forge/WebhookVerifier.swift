import Crypto
import Foundation

/// Why a request is not believed.
package enum WebhookRefusal: Error, Hashable, Sendable {
    case unsigned
    case malformed(String)
    /// Signed in the way of a forge that is not among `providers`.
    case notConfigured(ForgeKind)
    /// A token in plain text, where others could have read it.
    case tokenInTheClear
    case wrong
    /// Signed more than five minutes away from now.
    case outOfTime
    /// Genuine, and not what the forge documents.
    case unreadable(String)

    /// For the log; what the sender wrote is not in it.
    package var message: String {
        switch self {
        case .unsigned: "nothing vouches for it"
        case .malformed(let why): why
        case .notConfigured(let forge): "it is signed as by \(forge.rawValue), which is not among 'webhooks.providers'"
        case .tokenInTheClear: "a GitLab token only counts over TLS or on loopback: give 'webhooks.tls', or let GitLab sign (a secret 'whsec_…')"
        case .wrong: "no configured secret made its signature"
        case .outOfTime: "it was signed more than five minutes ago or ahead: a replay, or a clock that is wrong"
        case .unreadable(let why): why
        }
    }

    /// One word for metrics.
    package var label: String {
        switch self {
        case .unsigned: "unsigned"
        case .malformed: "malformed"
        case .notConfigured: "not_configured"
        case .tokenInTheClear: "token_in_the_clear"
        case .wrong: "forged"
        case .outOfTime: "out_of_time"
        case .unreadable: "unreadable"
        }
    }
}

/// A request that one of our secrets vouches for.
package struct WebhookDelivery: Hashable, Sendable {
    package enum Event: Hashable, Sendable {
        case pushes([PushNotice])
        case pullRequest(PullRequestNotice)
        /// A ping, or what nobody asked for.
        case ignored(String)
    }

    package var forge: ForgeKind
    /// nil: the forge names its deliveries not.
    package var id: String?
    package var event: Event

    package init(forge: ForgeKind, id: String?, event: Event) {
        self.forge = forge
        self.id = id
        self.event = event
    }
}

/// Tells requests of a forge from those of others.
///
/// - Guarantees: nothing of a body is parsed before its signature was found right; comparisons take the same time wherever the difference is; only
///   the configured forges count, each by its own header.
package struct WebhookVerifier: Sendable {
    /// Either way, as Standard Webhooks has it. In seconds.
    private static let tolerance: Int64 = 300

    private let secrets: [ForgeKind: [WebhookSecret]]
    private let tokensCount: Bool
    private let comparisonKey = SymmetricKey(size: .bits256)

    /// - Parameters:
    ///   - secrets: one for each forge, two while one is changed.
    ///   - tokensCount: Whether nobody can have read along: TLS, or loopback.
    package init(secrets: [ForgeKind: [WebhookSecret]], tokensCount: Bool) {
        self.secrets = secrets
        self.tokensCount = tokensCount
    }

    /// What can be said before the body is there, so that it need not be waited for.
    package func claim(_ headers: WebhookHeaders) -> Result<WebhookClaim, WebhookRefusal> {
        WebhookClaim.read(headers).flatMap { claim in
            guard let secrets = secrets[claim.forge], !secrets.isEmpty else { return .failure(.notConfigured(claim.forge)) }
            return .success(claim)
        }
    }

    /// - Parameter time: seconds since 1970.
    package func verify(_ claim: WebhookClaim, body: [UInt8], at time: Int64) -> Result<WebhookDelivery, WebhookRefusal> {
        if let refusal = refusal(of: claim, body: body, at: time) { return .failure(refusal) }
        return claim.delivery(of: body)
    }

    private func refusal(of claim: WebhookClaim, body: [UInt8], at time: Int64) -> WebhookRefusal? {
        let secrets = secrets[claim.forge] ?? []
        var refusal: WebhookRefusal?
        for proof in claim.proofs {
            switch proof {
            case .signature(let signature):
                let isGenuine = secrets.contains { HMAC<SHA256>.isValidAuthenticationCode(signature, authenticating: body, using: $0.key) }
                return isGenuine ? nil : .wrong
            case .timedSignatures(let id, let timestamp, let signatures):
                let keys = secrets.filter(\.isSigningKey)
                if keys.isEmpty { continue }
                let content = Array("\(id).\(timestamp).".utf8) + body
                let isGenuine = keys.contains { secret in
                    signatures.contains { HMAC<SHA256>.isValidAuthenticationCode($0, authenticating: content, using: secret.key) }
                }
                guard isGenuine else { return .wrong }
                guard let signed = Int64(timestamp), (time - Self.tolerance...time + Self.tolerance).contains(signed) else { return .outOfTime }
                return nil
            case .token(let token):
                let tokens = secrets.filter { !$0.isSigningKey }
                if tokens.isEmpty { continue }
                // Before the comparison: a right token that everybody could read is as bad as a wrong one.
                guard tokensCount else {
                    refusal = .tokenInTheClear
                    continue
                }
                return tokens.contains { isEqual(token, $0.key) } ? nil : .wrong
            }
        }
        return refusal ?? .wrong
    }

    /// In a time that says nothing about where the difference is, or about lengths.
    private func isEqual(_ token: String, _ secret: SymmetricKey) -> Bool {
        let expected = secret.withUnsafeBytes { HMAC<SHA256>.authenticationCode(for: Array($0), using: comparisonKey) }
        return HMAC<SHA256>.isValidAuthenticationCode(Array(expected), authenticating: Array(token.utf8), using: comparisonKey)
    }
}
