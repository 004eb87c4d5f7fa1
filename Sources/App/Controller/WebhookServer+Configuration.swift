package import Forge
import Foundation
package import Logging
import NIOSSL

extension WebhookServer {
    /// A secret in a file is not longer than this; the wrong file is.
    private static let longestSecret = 16 << 10

    /// Serves as the configuration says. Secrets and certificates are read once, here.
    ///
    /// - Throws: what is wrong with a file, never what is in it.
    package init(
        _ webhooks: Configuration.Webhooks,
        following source: Configuration.Source,
        metrics: Metrics,
        logger: Logger,
        onPush: @escaping @Sendable (PushNotice) -> Void,
        onPullRequest: @escaping @Sendable (PullRequestNotice) -> Void = { _ in }
    ) throws(ListeningFailure) {
        var secrets: [ForgeKind: [WebhookSecret]] = [:]
        for provider in webhooks.providers {
            guard let forge = ForgeKind(rawValue: provider.forge) else {
                throw ListeningFailure(message: "there is no forge '\(provider.forge)'", fix: "Correct 'webhooks.providers'.")
            }
            for file in provider.secretFiles { secrets[forge, default: []].append(try Self.secret(in: file, of: forge)) }
        }
        if secrets.isEmpty {
            throw ListeningFailure(message: "no forge is configured, so every webhook would be refused", fix: "Fill 'webhooks.providers'.")
        }
        let tls = try Self.tls(webhooks)
        self.init(
            address: webhooks.listen,
            tls: tls,
            verifier: WebhookVerifier(secrets: secrets, tokensCount: tls != nil || webhooks.listen.isLoopback),
            repository: FollowedRepository(url: source.url, name: webhooks.repository),
            metrics: metrics,
            logger: logger,
            onPush: onPush,
            onPullRequest: onPullRequest
        )
    }

    private static func secret(in file: String, of forge: ForgeKind) throws(ListeningFailure) -> WebhookSecret {
        let data: Data
        do {
            data = try Data(contentsOf: URL(fileURLWithPath: file))
        } catch {
            let fix = "Its owner must be the user that runs plumb, its mode 0600."
            throw ListeningFailure(message: "the webhook secret \(file) can't be read", fix: fix)
        }
        guard data.count <= longestSecret else {
            let fix = "Give a file that holds the secret and nothing else."
            throw ListeningFailure(message: "the webhook secret \(file) has \(data.count) bytes", fix: fix)
        }
        do {
            return try WebhookSecret(data, of: forge)
        } catch {
            throw ListeningFailure(message: "the webhook secret \(file): \(error.message)", fix: "'openssl rand -hex 32' makes a good one.")
        }
    }

    private static func tls(_ webhooks: Configuration.Webhooks) throws(ListeningFailure) -> TLSConfiguration? {
        guard let certificate = webhooks.certificateFile, let key = webhooks.keyFile else { return nil }
        do {
            var tls = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
                privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
            )
            tls.minimumTLSVersion = .tlsv12
            tls.applicationProtocols = ["http/1.1"]
            // A key that does not belong to the certificate is found here, and not by the first who connects.
            _ = try NIOSSLContext(configuration: tls)
            return tls
        } catch {
            throw ListeningFailure(
                message: "the certificate \(certificate) with the key \(key) can't be used",
                fix: "Both must be PEM, belong together, and be readable for the user that runs plumb."
            )
        }
    }
}
