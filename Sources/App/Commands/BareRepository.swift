import Controller
import Foundation
import Glibc

/// A repository that is pushed to, and its post-receive hook.
struct BareRepository {
    /// What makes a hook ours.
    static let mark = "# Written by 'plumb hook install'"

    /// Without symbolic links.
    let path: String
    private var hook: String { "\(path)/hooks/post-receive" }
    /// Where hooks that run several keep them.
    private var part: String { "\(path)/hooks/post-receive.d/plumb" }

    /// - Throws: where there is no repository.
    init(_ given: String) throws(HookFailure) {
        guard let real = realpath(given, nil) else {
            throw HookFailure("there is no \(given)", fix: "Make it with 'git init --bare \(given)', or give another path.")
        }
        defer { free(real) }
        let folder = String(cString: real)
        guard let found = [folder, "\(folder)/.git"].first(where: Self.isRepository) else {
            throw HookFailure("\(folder) is no git repository", fix: "Give the folder that holds HEAD, objects and refs.")
        }
        path = found
        if let other = Self.hooksPath(in: found) {
            throw HookFailure(
                "git looks for this repository's hooks in \(other) (core.hooksPath)",
                fix: "Take that setting out with 'git -C \(found) config --unset core.hooksPath', or install into a repository without it."
            )
        }
    }

    /// - Returns: the file that was written.
    /// - Throws: where somebody else's hook is in the way.
    func install(_ script: String) throws(HookFailure) -> String {
        if Self.isOurs(hook) || !Self.exists(hook) {
            try write(script, to: hook)
            return hook
        }
        if Self.exists("\(path)/hooks/post-receive.d") {
            guard Self.isOurs(part) || !Self.exists(part) else { throw HookFailure("\(part) is not Plumb's", fix: "Move it away.") }
            try write(script, to: part)
            return part
        }
        let lines = script.split(separator: "\n").filter { !$0.hasPrefix("#") && $0 != "exit 0" }.joined(separator: "\n")
        let fix = "It was left as it is. Add this to it, where its input was not read yet:\n\(lines)"
        throw HookFailure("\(hook) is there and not Plumb's", fix: fix)
    }

    /// - Returns: the files that were removed.
    func remove() throws(HookFailure) -> [String] {
        var removed: [String] = []
        for file in [hook, part] where Self.isOurs(file) {
            guard unlink(file) == 0 else { throw HookFailure("\(file) can't be removed: \(Self.reason)", fix: "Use sudo.") }
            removed.append(file)
        }
        return removed
    }

    /// In one step: a push that comes now runs the old hook or the new one.
    private func write(_ text: String, to file: String) throws(HookFailure) {
        func failed() -> HookFailure {
            HookFailure("\(file) can't be written: \(Self.reason)", fix: "Use sudo, or the user that owns the repository.")
        }
        let folder = "\(path)/hooks"
        if !Self.exists(folder), mkdir(folder, 0o755) != 0 { throw failed() }
        let temporary = "\(file).\(getpid())"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o755)
        guard descriptor >= 0 else { throw failed() }
        let bytes = Array(text.utf8)
        let isWritten = Glibc.write(descriptor, bytes, bytes.count) == bytes.count && fchmod(descriptor, 0o755) == 0 && fsync(descriptor) == 0
        close(descriptor)
        guard isWritten, rename(temporary, file) == 0 else {
            let failure = failed()
            unlink(temporary)
            throw failure
        }
    }

    private static var reason: String { String(cString: strerror(errno)) }

    private static func exists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0
    }

    private static func isOurs(_ file: String) -> Bool {
        guard let handle = FileHandle(forReadingAtPath: file), let start = try? handle.read(upToCount: 4096) else { return false }
        return String(decoding: start, as: UTF8.self).contains(mark)
    }

    private static func isRepository(_ folder: String) -> Bool {
        ["HEAD", "objects", "refs"].allSatisfy { exists("\(folder)/\($0)") }
    }

    /// `core.hooksPath` in the repository's own configuration.
    private static func hooksPath(in repository: String) -> String? {
        guard let text = try? String(contentsOfFile: "\(repository)/config", encoding: .utf8) else { return nil }
        var isCore = false
        for line in text.split(whereSeparator: \.isNewline).map({ $0.trimmingCharacters(in: .whitespaces) }) {
            if line.hasPrefix("[") {
                isCore = line.lowercased().hasPrefix("[core]")
            } else if isCore, let equals = line.firstIndex(of: "=") {
                let sides = [line[..<equals], line[line.index(after: equals)...]].map { $0.trimmingCharacters(in: .whitespaces) }
                if sides[0].lowercased() == "hookspath" { return sides[1] }
            }
        }
        return nil
    }
}

/// What the hook does. It never fails a push, whatever has become of Plumb.
struct HookScript {
    var program: String
    var socket: String
    var repository: String
    var ref: String?
    var wait: String

    var text: String {
        var command = "\(Self.quoted(program)) hook notify --socket \(Self.quoted(socket)) --repository \(Self.quoted(repository))"
        if let ref { command += " --ref \(Self.quoted(ref))" }
        command += " --wait \(Self.quoted(wait))"
        return """
            #!/bin/sh
            \(BareRepository.mark), which may write it anew: tells Plumb what was pushed and shows what became of it.
            if [ -x \(Self.quoted(program)) ]; then
                \(command) || :
            else
                echo 'plumb: the program is gone from where it was; the next poll finds the push'
            fi
            exit 0

            """
    }

    /// What may keep others who push from being heard.
    var warnings: [String] {
        var warnings: [String] = []
        var folder = URL(fileURLWithPath: socket).deletingLastPathComponent()
        while folder.path != "/" {
            var status = stat()
            if stat(folder.path, &status) == 0, status.st_mode & 0o011 == 0 {
                warnings.append(
                    "only the owner of \(folder.path) reaches the socket; for others who push, set 'socket.path' outside of it and 'socket.group'"
                )
                break
            }
            folder.deleteLastPathComponent()
        }
        return warnings
    }

    /// This program, by a path that does not depend on PATH: git's hooks have their own.
    static func ownProgram() throws(HookFailure) -> String {
        guard let real = realpath("/proc/self/exe", nil) else {
            throw HookFailure("where this program is can't be seen", fix: "/proc must be mounted.")
        }
        defer { free(real) }
        return String(cString: real)
    }

    static func absolute(_ path: String) throws(HookFailure) -> String {
        let full = path.hasPrefix("/") ? path : "\(FileManager.default.currentDirectoryPath)/\(path)"
        guard !full.contains("\n") else { throw HookFailure("a path with a line feed can't be used", fix: "Give another --socket.") }
        return full
    }

    private static func quoted(_ text: String) -> String { "'\(text.replacing("'", with: "'\\''"))'" }
}
