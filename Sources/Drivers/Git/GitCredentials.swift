internal import Foundation
internal import SSH
internal import Subprocess

#if canImport(System)
internal import System
#else
internal import SystemPackage
#endif

/// Logins for https, one after the other as the server refuses them. Nothing is looked for before it asks.
final class GitCredentials {
    struct Login: Hashable, Sendable {
        var user: String
        var password: String
    }

    private let url: GitURL
    private let environment: [String: String]
    private enum Source {
        case url
        case file(String)
        case netrc
        case helper
    }
    private var sources: [Source]
    /// Where the logins came from that were refused.
    private(set) var tried: [String] = []

    init(_ url: GitURL, tokenFile: String?, environment: [String: String] = ProcessInfo.processInfo.environment) {
        self.url = url
        self.environment = environment
        // Whoever names a token means that one and no other.
        sources = tokenFile.map { [.file($0)] } ?? [.url, .netrc, .helper]
    }

    /// The next login to try; nil when there is none left.
    func next() throws(GitFailure) -> Login? {
        while !sources.isEmpty {
            let found: (Login, String)? =
                switch sources.removeFirst() {
                case .url: ofURL()
                case .file(let path): try ofFile(path)
                case .netrc: ofNetrc()
                case .helper: ofHelper()
                }
            if let (login, place) = found {
                tried.append(place)
                return login
            }
        }
        return nil
    }

    var refusal: GitFailure {
        let words = tried.isEmpty ? "wants a login, and there is none" : "does not take the login of \(tried.joined(separator: ", or that of "))"
        return GitFailure(
            .denied,
            "\(url.shown): the server \(words)",
            fix: tried.isEmpty ? Stop.loginHelp : "Is it for this server, has it expired, and may it read this repository?"
        )
    }

    // MARK: Where they come from

    private func ofURL() -> (Login, String)? {
        guard let user = url.user, let password = url.password else { return nil }
        return (Login(user: user, password: password), "the URL")
    }

    private func ofFile(_ path: String) throws(GitFailure) -> (Login, String)? {
        guard let text = Self.contents(of: path) else {
            throw GitFailure(
                .invalid,
                "the token in \(path) can't be read",
                fix: "--git-token-file takes a readable file with nothing but the token in it."
            )
        }
        let token = text.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !token.isEmpty, token.utf8.count <= 8192, token.unicodeScalars.allSatisfy({ $0.isASCII && $0.value > 0x20 }) else {
            throw GitFailure(.invalid, "\(path) holds no token", fix: "--git-token-file takes a file with nothing but the token in it, on one line.")
        }
        // GitHub's apps want this name; the others take any.
        return (Login(user: url.user ?? "x-access-token", password: token), path)
    }

    private func ofNetrc() -> (Login, String)? {
        guard let path = environment["NETRC"] ?? environment["HOME"].map({ "\($0)/.netrc" }), let text = Self.contents(of: path)
        else { return nil }
        guard let login = Self.netrc(text, host: url.host, user: url.user) else { return nil }
        return (login, path)
    }

    /// The login that a `.netrc` has for a host: the first entry that fits, `default` included.
    static func netrc(_ text: String, host: String, user: String?) -> Login? {
        var words: [Substring] = []
        var isMacro = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            // A macro lasts until an empty line.
            if isMacro {
                isMacro = !line.allSatisfy(\.isWhitespace)
                continue
            }
            for word in line.split(whereSeparator: \.isWhitespace) {
                if word.hasPrefix("#") { break }
                if word == "macdef" {
                    isMacro = true
                    break
                }
                words.append(word)
            }
        }
        var isMeant = false
        var found: (user: String?, password: String?) = (nil, nil)
        var result: Login?
        func close() {
            guard isMeant, result == nil, let password = found.password, user == nil || found.user == nil || user == found.user else { return }
            result = Login(user: found.user ?? user ?? "git", password: password)
        }
        var index = 0
        func value() -> String? {
            index += 1
            return index < words.count ? String(words[index]) : nil
        }
        while index < words.count {
            switch words[index] {
            case "machine":
                close()
                isMeant = value()?.lowercased() == host.lowercased()
                found = (nil, nil)
            case "default":
                close()
                isMeant = true
                found = (nil, nil)
            case "login": found.user = value()
            case "password": found.password = value()
            case "account": _ = value()
            default: break
            }
            index += 1
        }
        close()
        return result
    }

    private static let helperLimit = Duration.seconds(10)

    /// What git's own `credential.helper` has; nil where git is not installed or no helper knows.
    private func ofHelper() -> (Login, String)? {
        var question = "protocol=\(url.scheme.rawValue)\nhost=\(url.place)\npath=\(url.path.drop { $0 == "/" })\n"
        if let user = url.user {
            guard !user.contains("\n") else { return nil }
            question += "username=\(user)\n"
        }
        question += "\n"
        let asked = question
        let answer: String? = waitFor {
            await withTaskGroup(of: String?.self) { group in
                group.addTask {
                    let result = try? await Subprocess.run(
                        // The limits that hold for reading packs are none for a helper.
                        .path("/bin/sh"),
                        arguments: ["-c", "ulimit -S -v unlimited; ulimit -S -f unlimited; ulimit -S -t unlimited; exec git credential fill"],
                        // It must not ask: a person would not see what for.
                        environment: .inherit.updating(["GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GCM_INTERACTIVE": "never"]
                        ),
                        workingDirectory: "/",
                        input: .string(asked),
                        output: .string(limit: 64 << 10),
                        error: .discarded
                    )
                    guard let result, result.terminationStatus.isSuccess else { return nil }
                    return result.standardOutput
                }
                group.addTask {
                    try? await Task.sleep(for: Self.helperLimit)
                    return nil
                }
                defer { group.cancelAll() }
                return await group.next() ?? nil
            }
        }
        var fields: [Substring: Substring] = [:]
        for line in (answer ?? "").split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
        guard let user = fields["username"], let password = fields["password"], !password.isEmpty else { return nil }
        return (Login(user: String(user), password: String(password)), "git's credential helper")
    }

    private static func contents(of path: String) -> String? {
        guard let handle = FileHandle(forReadingAtPath: path), let data = try? handle.read(upToCount: 1 << 20) else { return nil }
        try? handle.close()
        return String(decoding: data, as: UTF8.self)
    }
}
