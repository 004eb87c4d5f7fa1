import Crypto
import CryptoExtras
import Foundation

/// As whom Plumb speaks to a forge. It can't be printed; the token comes from a file or from the environment, never from a command line.
package struct ForgeCredentials: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    enum Kind: Sendable {
        case fixed(String)
        case file(String)
        case app(AppKey)
    }

    let kind: Kind

    private init(_ kind: Kind) { self.kind = kind }

    /// A token in a file, which is read again where the forge no longer takes it.
    ///
    /// - Throws: where there is none in it.
    package static func token(file: String) throws(ForgeFailure) -> ForgeCredentials {
        _ = try read(file)
        return ForgeCredentials(.file(file))
    }

    /// A token in a variable of the environment: what CI has.
    package static func token(variable: String, environment: [String: String]) throws(ForgeFailure) -> ForgeCredentials {
        guard let text = environment[variable] else {
            throw ForgeFailure(.unauthorized, "the environment has no \(variable)", fix: "Set it, or give a file with the token.")
        }
        return ForgeCredentials(.fixed(try token(in: text, "the variable \(variable)")))
    }

    /// A GitHub App.
    ///
    /// - Parameters:
    ///   - id: its App ID or client ID.
    ///   - installation: nil: asked for, by the repository.
    ///   - keyFile: the private key that GitHub has made for it, PEM.
    package static func app(id: String, installation: Int64? = nil, keyFile: String) throws(ForgeFailure) -> ForgeCredentials {
        let fix = "Make a new key in the App's settings at GitHub, and give the file as it was downloaded."
        guard let data = FileManager.default.contents(atPath: keyFile), data.count <= 64 << 10 else {
            throw ForgeFailure(.unauthorized, "the App's key \(keyFile.printable(limit: 200)) can't be read", fix: fix)
        }
        guard let key = try? _RSA.Signing.PrivateKey(pemRepresentation: String(decoding: data, as: UTF8.self)) else {
            throw ForgeFailure(.unauthorized, "the App's key \(keyFile.printable(limit: 200)) is no RSA key in PEM of 2048 bits or more", fix: fix)
        }
        guard !id.isEmpty, id.utf8.count <= 64, id.unicodeScalars.allSatisfy({ $0.isASCII && $0.value > 0x20 }) else {
            throw ForgeFailure(.invalid, "'\(id.printable(limit: 64))' is no App ID", fix: "It is the number in the App's settings.")
        }
        return ForgeCredentials(.app(AppKey(id: id, installation: installation, key: key)))
    }

    var isApp: Bool { if case .app = kind { true } else { false } }

    static func read(_ file: String) throws(ForgeFailure) -> String {
        guard let data = FileManager.default.contents(atPath: file) else {
            let fix = "Its owner must be the user that runs plumb, its mode 0600."
            throw ForgeFailure(.unauthorized, "the token file \(file.printable(limit: 200)) can't be read", fix: fix)
        }
        guard data.count <= 16 << 10 else {
            let fix = "Give a file that holds the token and nothing else."
            throw ForgeFailure(.unauthorized, "the token file \(file.printable(limit: 200)) has \(data.count) bytes", fix: fix)
        }
        return try token(in: String(decoding: data, as: UTF8.self), "the file \(file.printable(limit: 200))")
    }

    private static func token(in text: String, _ place: String) throws(ForgeFailure) -> String {
        let token = text.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !token.isEmpty, token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw ForgeFailure(.unauthorized, "\(place) holds no token", fix: "It must be the token on one line, and nothing else.")
        }
        return token
    }

    package var description: String { "(sensitive)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// A GitHub App's key, which signs who we are for a few minutes.
struct AppKey: Sendable {
    let id: String
    let installation: Int64?
    let key: _RSA.Signing.PrivateKey

    /// GitHub's limit is ten minutes, and its clock may be behind ours.
    private static let lifetime: Int64 = 540
    private static let leeway: Int64 = 60

    /// A JSON Web Token, RS256.
    ///
    /// - Parameter time: seconds since 1970.
    func webToken(at time: Int64) throws(ForgeFailure) -> String {
        // Clients IDs and numbers alike are sent as text, which GitHub takes for both.
        let claims = #"{"exp":\#(time + Self.lifetime),"iat":\#(time - Self.leeway),"iss":"\#(id.replacing("\"", with: ""))"}"#
        let content = "\(Self.base64(Data(#"{"alg":"RS256","typ":"JWT"}"#.utf8))).\(Self.base64(Data(claims.utf8)))"
        guard let signature = try? key.signature(for: SHA256.hash(data: Data(content.utf8)), padding: .insecurePKCS1v1_5) else {
            throw ForgeFailure(.unauthorized, "the App's key can't sign", fix: "Make a new key in the App's settings at GitHub.")
        }
        return "\(content).\(Self.base64(signature.rawRepresentation))"
    }

    private static func base64(_ data: Data) -> String {
        data.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
}
