import Crypto
import Foundation

/// What a forge and Plumb both know. It can't be printed.
package struct WebhookSecret: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package enum Mistake: Error, Hashable, Sendable {
        case empty
        /// `whsec_` with something behind it that is no base64.
        case unreadableSigningKey

        package var message: String {
            switch self {
            case .empty: "the secret is empty: everybody could sign with it"
            case .unreadableSigningKey: "the secret begins with 'whsec_', and what follows is no base64"
            }
        }
    }

    let key: SymmetricKey
    /// GitLab's signing key (`whsec_…`), which is never sent; all other secrets of GitLab's are tokens, which are.
    let isSigningKey: Bool

    /// - Parameter bytes: as they stand in a file; space around them does not count.
    package init(_ bytes: some Sequence<UInt8>, of forge: ForgeKind) throws(Mistake) {
        let isSpace: (UInt8) -> Bool = { [0x20, 0x09, 0x0A, 0x0D].contains($0) }
        var secret = Array(bytes.drop(while: isSpace))
        while let last = secret.last, isSpace(last) { secret.removeLast() }
        guard !secret.isEmpty else { throw .empty }
        let prefix = Array("whsec_".utf8)
        isSigningKey = forge == .gitlab && secret.starts(with: prefix)
        if isSigningKey {
            // Some write it without the '=' at its end.
            let digits = secret.dropFirst(prefix.count)
            let padding = [UInt8](repeating: UInt8(ascii: "="), count: (4 - digits.count % 4) % 4)
            guard let decoded = Data(base64Encoded: Data(digits + padding)) else { throw .unreadableSigningKey }
            guard !decoded.isEmpty else { throw .empty }
            key = SymmetricKey(data: decoded)
        } else {
            key = SymmetricKey(data: secret)
        }
    }

    package var description: String { "(sensitive)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
