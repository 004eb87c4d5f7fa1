internal import Crypto
internal import Subprocess

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#endif

/// What the ssh configuration says about a host, by asking `ssh -G`: its language is OpenSSH's, and a reader of ours would never agree with it in all.
actor OpenSSHConfiguration {
    private let options: SSHOptions
    private var files: ConfigurationFiles?
    private var answers: [[String]: String] = [:]
    private let processes = Gates(limit: 4)

    init(_ options: SSHOptions) { self.options = options }

    func configuration(of login: SSHLogin) async throws(SSHFailure) -> HostConfiguration {
        for name in [login.address, login.user].compactMap(\.self) where !HostConfiguration.isSafe(name) {
            throw SSHFailure(.unknown, "\(login.name): '\(name.quotable())' is no name or address")
        }
        let files = files ?? ConfigurationFiles(file: options.configFile)
        self.files = files
        guard files.mustAsk else { return HostConfiguration(login, options: options) }
        guard let program = Self.program else {
            let names = files.files.joined(separator: ", ")
            if options.configFile != nil {
                throw SSHFailure(.unreachable, "\(login.name): \(names) can't be followed: the OpenSSH client 'ssh' is not installed")
            }
            var configuration = HostConfiguration(login, options: options)
            configuration.notes.append("\(names) is not followed: the OpenSSH client 'ssh' is not installed")
            return configuration
        }
        return try HostConfiguration(login, options: options, answer: try await answer(login, files, program))
    }

    private func answer(_ login: SSHLogin, _ files: ConfigurationFiles, _ program: String) async throws(SSHFailure) -> String {
        // With user and port on the command line, `Match user` sees what will be used.
        var arguments = ["-G"]
        if let file = options.configFile { arguments += ["-F", file] }
        if let user = login.user { arguments += ["-l", user] }
        if let port = login.port { arguments += ["-p", String(port)] }
        arguments += ["--", login.address]
        if let answer = answers[arguments] { return answer }
        let cached = files.isCacheable ? options.cacheDirectory.map { ConfigurationCache($0, key: [program, files.fingerprint] + arguments) } : nil
        if let answer = cached?.read() {
            answers[arguments] = answer
            return answer
        }
        await processes.enter("ssh")
        defer { processes.leave("ssh") }
        let answer = try await Self.run(program, arguments, host: login.name)
        answers[arguments] = answer
        cached?.write(answer)
        return answer
    }

    private static let limit = Duration.seconds(10)

    private enum Ending: Sendable {
        case done(output: String, errorOutput: String, succeeded: Bool)
        case failed(String)
        case late
    }

    private static func run(_ program: String, _ arguments: [String], host: String) async throws(SSHFailure) -> String {
        // `Match exec` may run anything, and so may last.
        let ending = await withTaskGroup(of: Ending.self) { group in
            group.addTask {
                do {
                    let result = try await Subprocess.run(
                        .name("ssh"),
                        arguments: Arguments(arguments),
                        output: .string(limit: 1 << 20),
                        error: .string(limit: 1 << 20)
                    )
                    return .done(output: result.standardOutput, errorOutput: result.standardError, succeeded: result.terminationStatus.isSuccess)
                } catch {
                    return .failed("\(error)")
                }
            }
            group.addTask {
                try? await Task.sleep(for: limit)
                return .late
            }
            defer { group.cancelAll() }
            return await group.next() ?? .late
        }
        switch ending {
        case .done(let output, _, true): return output
        case .done(_, let errorOutput, false):
            throw SSHFailure(.unreachable, "\(host): ssh can't make sense of its configuration: \(errorOutput.quotable(limit: 300))")
        case .failed(let reason):
            throw SSHFailure(.unreachable, "\(host): \(program) can't be run to read the ssh configuration: \(reason.quotable())")
        case .late:
            throw SSHFailure(
                .unreachable,
                "\(host): '\(program) \(arguments.joined(separator: " "))' did not end within \(limit.inWords); does a 'Match exec' of the ssh configuration hang?"
            )
        }
    }

    private static let program: String? = (LocalFiles.environment("PATH") ?? "/usr/local/bin:/usr/bin:/bin")
        .split(separator: ":").map { "\($0)/ssh" }.first { $0.hasPrefix("/") && access($0, X_OK) == 0 }
}

/// One answer of `ssh -G` on disk. The answers decide which keys are trusted, so a folder that others may write to is not used.
private struct ConfigurationCache {
    private let folder: String
    private let key: String

    /// - Parameter key: All that the answer depends on.
    init(_ folder: String, key: [String]) {
        self.folder = folder
        let whole = key + [LocalFiles.user, LocalFiles.home, LocalFiles.environment("SSH_AUTH_SOCK") ?? ""]
        self.key = SHA256.hash(data: Array(whole.joined(separator: "\0").utf8)).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }
            .joined()
    }

    private var path: String { "\(folder)/\(key)" }

    private func isPrivate() -> Bool {
        var status = stat()
        return lstat(folder, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR && status.st_uid == getuid() && status.st_mode & 0o022 == 0
    }

    func read() -> String? {
        guard isPrivate(), let content = try? LocalFiles.read(path, limit: 1 << 20), content.isOurs else { return nil }
        let text = String(decoding: content.bytes, as: UTF8.self)
        // A file that was cut short has no end.
        guard text.hasSuffix(Self.end) else { return nil }
        return String(text.dropLast(Self.end.count))
    }

    private static let end = "# end\n"

    /// Where this fails, ssh is asked again the next time.
    func write(_ answer: String) {
        mkdir(folder, 0o700)
        guard isPrivate() else { return }
        let draft = "\(path).\(getpid())"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return }
        let bytes = Array((answer + Self.end).utf8)
        let isWritten = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } == bytes.count
        Glibc.close(descriptor)
        if !isWritten || rename(draft, path) != 0 { unlink(draft) }
    }
}
