// A user's own code, compiled as the user likes: the package brings what its headers need, and none of the project's warnings.

#ifndef BOOST_ASIO_SEPARATE_COMPILATION
#error "the package must say that Asio is compiled within it"
#endif

int not_as_the_project_would_write_it(long unused, long wide) { return wide; }
