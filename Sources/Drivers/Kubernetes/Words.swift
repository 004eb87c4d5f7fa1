import AsyncHTTPClient
import Foundation
import KubernetesAPI
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Says in plain words why a request got no answer, and whether it can have been carried out.
struct Words {
    private enum Kind {
        case notConnected(String)
        case closed
        case timedOut
        case certificateRefused
        case wrongHost
        case noTLS
        case ownCertificateRefused(String)
        case otherTLS(String)
        case noHTTP
        case other(String)
    }

    private let kind: Kind
    private let access: ServerAccess

    init(_ error: any Error, _ access: ServerAccess) {
        self.access = access
        kind = Self.kind(of: error)
    }

    /// Why a certificate is not trusted can only be said by someone who looks at it.
    var needsCertificate: Bool {
        switch kind {
        case .certificateRefused, .wrongHost: true
        default: false
        }
    }

    /// nil: trying again does not help.
    var outcome: RetryPolicy.Outcome? {
        switch kind {
        case .notConnected: .notSent
        case .closed: .lost
        default: nil
        }
    }

    func failure(serverCertificate: NIOSSLCertificate?) -> APIFailure {
        let endpoint = access.endpoint
        switch kind {
        case .notConnected(let why): return APIFailure(.unreachable, "can't connect to \(endpoint): \(why) (\(access.origin))")
        case .closed: return APIFailure(.unreachable, "\(endpoint) closed the connection before it had answered (\(access.origin))")
        case .timedOut: return APIFailure(.timedOut, "\(endpoint) did not answer in time (\(access.origin))")
        case .certificateRefused: return APIFailure(.untrusted, "\(distrust(serverCertificate)) (\(access.origin))")
        case .wrongHost:
            let names = serverCertificate.map(TLSDiagnosis.names) ?? []
            let known = names.isEmpty ? "other names" : names.prefix(12).joined(separator: ", ")
            return APIFailure(
                .untrusted,
                "the certificate of \(endpoint) is not for \(access.bareHost) but for \(known). Use one of these in 'server' or 'tls-server-name' "
                    + "(\(access.origin))"
            )
        case .noTLS:
            return APIFailure(
                .unreachable,
                "\(endpoint) does not speak TLS. If it is a plain HTTP port, write http:// in 'server' (\(access.origin))"
            )
        case .ownCertificateRefused(let why):
            let expired = Self.expiry(of: access.clientCertificates.first).map { "; \($0)" } ?? ""
            return APIFailure(.credentials, "\(endpoint) refused \(access.credentials): \(why)\(expired) (\(access.origin))")
        case .otherTLS(let text): return APIFailure(.untrusted, "no TLS connection to \(endpoint): \(text) (\(access.origin))")
        case .noHTTP: return APIFailure(.unreadable, "\(endpoint) answers, but not in HTTP: is this an API server? (\(access.origin))")
        case .other(let text): return APIFailure(.unreachable, "the connection to \(endpoint) failed: \(text) (\(access.origin))")
        }
    }

    private func distrust(_ certificate: NIOSSLCertificate?) -> String {
        let its = "the certificate of \(access.endpoint)"
        if let certificate, let expiry = Self.expiry(of: certificate) { return "\(its) can't be trusted: \(expiry)" }
        if let certificate, Date(timeIntervalSince1970: TimeInterval(certificate.notValidBefore)) > Date() {
            return "\(its) is valid only from \(Self.day(certificate.notValidBefore)) on: is this machine's clock right?"
        }
        if let roots = access.trustRoots {
            if let expiry = roots.lazy.compactMap({ Self.expiry(of: $0) }).first, roots.count == 1 {
                return "\(its) can't be trusted: the certificate authority's own certificate can't either, \(expiry)"
            }
            return "\(its) is not signed by the certificate authority that is named for it. Was the cluster made anew, or is this another server?"
        }
        return "\(its) is signed by an authority that this machine does not know. Name it in 'certificate-authority'"
    }

    static func unauthorized(_ access: ServerAccess) -> APIFailure {
        let what: String
        switch access.token {
        case .fixed, .file: what = "\(access.credentials) is wrong or has expired: get a new one"
        case nil where access.clientCertificates.isEmpty: what = "none are given: add a token or a client certificate"
        case nil:
            what = expiry(of: access.clientCertificates.first) ?? "the client certificate is not signed by an authority that this server takes"
        }
        return APIFailure(.credentials, "\(access.endpoint) refused the credentials (401): \(what) (\(access.origin))")
    }

    /// The text of a `Warning` header: `299 - "text"`.
    static func warning(_ header: String) -> String {
        guard let start = header.firstIndex(of: "\""), let end = header.lastIndex(of: "\""), start < end else { return header }
        return header[header.index(after: start)..<end].replacingOccurrences(of: "\\\"", with: "\"")
    }

    private static func expiry(of certificate: NIOSSLCertificate?) -> String? {
        guard let certificate, Date(timeIntervalSince1970: TimeInterval(certificate.notValidAfter)) < Date() else { return nil }
        return "it expired on \(day(certificate.notValidAfter))"
    }

    private static func day(_ time: time_t) -> String {
        let format = ISO8601DateFormatter()
        format.formatOptions = [.withFullDate]
        return format.string(from: Date(timeIntervalSince1970: TimeInterval(time)))
    }

    private static func kind(of error: any Error) -> Kind {
        switch error {
        case let error as NIOConnectionError:
            if error.dnsAError != nil, error.dnsAAAAError != nil { return .notConnected("there is no host of this name") }
            return .notConnected(error.connectionErrors.first.map { reason($0.error) } ?? "no address")
        case let error as SocketAddressError:
            if case .unknown = error { return .notConnected("there is no host of this name") }
            return .notConnected("\(error)")
        case let error as ChannelError:
            if case .connectTimeout = error { return .notConnected("no answer") }
            return .closed
        case let error as IOError:
            switch error.errnoCode {
            case ECONNREFUSED, EHOSTUNREACH, ENETUNREACH: return .notConnected(reason(error))
            case ECONNRESET, EPIPE: return .closed
            default: return .other(reason(error))
            }
        case let error as HTTPClientError: return kind(of: error)
        case let error as NIOSSLExtraError:
            return error == .failedToValidateHostname ? .wrongHost : .otherTLS("\(error)")
        case let error as NIOSSLError:
            switch error {
            case .handshakeFailed(.sslError(let stack)), .shutdownFailed(.sslError(let stack)): return kind(of: stack)
            case .handshakeFailed, .uncleanShutdown: return .closed
            default: return .otherTLS("\(error)")
            }
        case let error as BoringSSLError:
            if case .sslError(let stack) = error { return kind(of: stack) }
            return .otherTLS("\(error)")
        case let error as HTTPParserError:
            // The end where there should have been more.
            return error == .invalidEOFState ? .closed : .noHTTP
        default: return .other("\(error)")
        }
    }

    private static func kind(of error: HTTPClientError) -> Kind {
        switch error {
        case .connectTimeout, .tlsHandshakeTimeout: .notConnected("no answer")
        case .remoteConnectionClosed, .uncleanShutdown: .closed
        case .readTimeout, .writeTimeout, .deadlineExceeded, .getConnectionFromPoolTimeout: .timedOut
        default: .other("\(error)")
        }
    }

    /// OpenSSL has one constant for each reason, and no type.
    private static func kind(of stack: NIOBoringSSLErrorStack) -> Kind {
        let text = stack.map(\.description).joined(separator: "; ")
        if text.contains("CERTIFICATE_VERIFY_FAILED") { return .certificateRefused }
        if text.contains("WRONG_VERSION_NUMBER") || text.contains("HTTP_REQUEST") { return .noTLS }
        let alerts = [
            "ALERT_UNKNOWN_CA": "its authority is not one that this server takes", "ALERT_BAD_CERTIFICATE": "the server calls it bad",
            "ALERT_CERTIFICATE_EXPIRED": "the server says that it has expired", "ALERT_CERTIFICATE_REQUIRED": "the server wants a client certificate",
            "ALERT_CERTIFICATE_UNKNOWN": "the server does not take it", "ALERT_CERTIFICATE_REVOKED": "it was revoked",
        ]
        if let words = alerts.first(where: { text.contains($0.key) })?.value { return .ownCertificateRefused(words) }
        return text.contains("EOF") ? .closed : .otherTLS(text)
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as IOError: String(cString: strerror(error.errnoCode)).lowercased()
        case let error as ChannelError: if case .connectTimeout = error { "no answer" } else { "\(error)" }
        default: "\(error)"
        }
    }
}
