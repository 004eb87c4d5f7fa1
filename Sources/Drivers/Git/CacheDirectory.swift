internal import Crypto
internal import Foundation
internal import Glibc

/// Where a repository is kept between reads: a folder for each URL, ours alone.
struct CacheDirectory: Sendable {
    let path: String
    private let isTemporary: Bool
    let notes: [String]

    /// - Parameter directory: nil, or one that can't be written: a temporary folder does, and everything is fetched each time.
    init(for url: GitURL, in directory: String?) throws(GitFailure) {
        if url.scheme == .file {
            // Read where it is.
            (path, isTemporary, notes) = ("", false, [])
            return
        }
        var notes: [String] = []
        if let directory {
            if let reason = Self.make(directory) {
                notes.append("what was fetched can't be kept in \(directory) (\(reason)), so it is fetched anew each time")
            } else {
                let digest = SHA256.hash(data: Data(url.shown.utf8)).prefix(10)
                let name = digest.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
                (path, isTemporary, self.notes) = ("\(directory)/\(name)", false, [])
                return
            }
        }
        let base = ProcessInfo.processInfo.environment["TMPDIR"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/tmp"
        var template = Array("\(base)/plumb-git-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw GitFailure(
                .unreachable,
                "there is no place for what is fetched: \(base) can't be written to (\(String(cString: strerror(errno))))",
                fix: "Give --data-dir, or set TMPDIR to a folder that can be written to."
            )
        }
        path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) + "/repository"
        isTemporary = true
        self.notes = notes
    }

    func removeIfTemporary() {
        if isTemporary { try? FileManager.default.removeItem(atPath: String(path.dropLast("/repository".count))) }
    }

    /// Makes the folder with those above it; nil, or why not.
    private static func make(_ directory: String) -> String? {
        do {
            let mode: [FileAttributeKey: Any] = [.posixPermissions: 0o700]
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true, attributes: mode)
        } catch {
            return (error as NSError).localizedDescription
        }
        var info = stat()
        guard lstat(directory, &info) == 0, info.st_mode & S_IFMT == S_IFDIR else { return "it is no folder" }
        guard info.st_uid == geteuid() else { return "it belongs to somebody else" }
        guard access(directory, W_OK | X_OK) == 0, chmod(directory, 0o700) == 0 else { return String(cString: strerror(errno)) }
        return nil
    }
}
